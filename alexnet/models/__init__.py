"""Pixels in, logits out: the networks and the sizes that follow from their configuration.

Reading order: `shapes`, `layers`, `fusion`, `network`, `alexnet`, `lenet`, `cifar`, `build`, `summary`.
"""
