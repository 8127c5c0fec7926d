"""The run folder: what defines a run, its progress, and how it is started, saved and resumed.

Reading order: `run`, `environment`, `checkpoint`, `metrics`, `kernel_history`, `start`, `pretrained`, `status`.
"""
