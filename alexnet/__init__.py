"""AlexNet as the system it was: prepare, train, evaluate and use it, every ingredient a switch.

The modules are the pipeline: images, sources, prepare, dataset, augment, model, train, evaluate, report. Import what
you need from them: `from alexnet.train import train`.
"""

__version__ = "0.1.0"
