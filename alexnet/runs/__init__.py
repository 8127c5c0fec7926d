"""The run folder: what a run is, how far it is, and how it goes on.

Reading order: `run`, `environment`, `checkpoint`, `metrics`, `kernel_history`, `start`, `pretrained`, `status`.
"""
