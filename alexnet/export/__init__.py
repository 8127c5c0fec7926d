"""A trained network in the formats of other programs, tested to be equal before it is written.

Reading order: `write`, `onnx`, `backends`, `parity`, `quantize`, `huggingface`.
"""
