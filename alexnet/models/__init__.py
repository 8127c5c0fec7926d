"""The networks: pixels in, logits out; and the sizes that follow from a configuration.

Reading order: `shapes`, `layers`, `fusion`, `network`, `alexnet`, `lenet`, `cifar`, `build`, `summary`.
"""
