"""A run as a frozen record; nothing here needs PyTorch.

Reading order: `config`, `recipe`, `named`, `named_2012`, `named_small`, `field_notes`, `ingredients`.
"""
