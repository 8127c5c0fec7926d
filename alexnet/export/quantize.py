"""An ONNX graph with 8-bit weights and sums: a quarter of the bytes, and no longer equal to the run.

Convolutions and fully connected layers are quantised, weights for each output by itself; norms, pooling and the ends of
the graph stay as they are. The ranges of the values in between are those that some training pictures take.
"""

import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.export.onnx import PIXELS, need_onnx

CALIBRATION = 128  # pictures, spread evenly over a split
BATCH = 16
MOST_LOSS = 0.01  # of top-1 accuracy that a quantised network may lose


def calibration_batches(
    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]], count: int, pixels: str
) -> Iterator[NDArray[Any]]:
    """Pictures that stand for all `count` of a split, as the graph takes them: (n, 3, side, side) at a time."""
    chosen = np.unique(np.linspace(0, count - 1, min(count, CALIBRATION)).astype(np.int64))
    for start in range(0, len(chosen), BATCH):
        yield np.ascontiguousarray(read(chosen[start : start + BATCH]).transpose(0, 3, 1, 2), pixels)


def quantized(content: bytes, batches: Iterator[NDArray[Any]]) -> bytes:
    """The graph of an ONNX file with its convolutions and fully connected layers in 8 bits.

    Args:
        batches: pictures by which the ranges are found.
    """
    onnx = need_onnx()
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """The batches in the form that onnxruntime asks for."""

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            batch = next(batches, None)
            return None if batch is None else {PIXELS: batch}

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it recommends steps that change the graph's names
    try:
        with tempfile.TemporaryDirectory(prefix="alexnet-") as folder:
            out = Path(folder) / "int8.onnx"
            quantize_static(
                onnx.load_model_from_string(content),
                out,
                Reader(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "Gemm"],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            return out.read_bytes()
    finally:
        logging.disable(before)
