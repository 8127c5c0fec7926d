"""Weight files of other frameworks: their content is read and never executed.

Reading order: `stored`, `read`, `pairing`, `settings`, `draft`, `families`, `identify`, `caffe`, `onnx`,
`onnx_graph`, `onnx_lrn`, `batch_norm`, `protobuf`, `pickles`, `pickle_opcodes`, `published`.
"""
