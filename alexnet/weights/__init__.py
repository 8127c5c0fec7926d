"""Weight files of other frameworks: their content is read and never executed.

Reading order: `read`, `identify`, `caffe`, `onnx`, `protobuf`, `pickles`, `pickle_opcodes`, `published`.
"""
