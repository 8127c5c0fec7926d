"""Weight files of other frameworks, read and never run.

Reading order: `read`, `identify`, `caffe`, `onnx`, `protobuf`, `pickles`, `pickle_opcodes`, `published`.
"""
