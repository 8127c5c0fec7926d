"""Quantizes an ONNX graph to 8 bits: a quarter of the bytes, but no longer equal to the run.

Convolutional and fully connected layers are quantized, their weights separately for each output. Normalization,
pooling, input and output stay as they are. The ranges of activations are measured on some training images.
"""

import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.export.onnx import PIXELS, need_onnx

CALIBRATION = 128  # number of images, spread evenly over a split
BATCH = 16
MOST_LOSS = 0.01  # the top-1 accuracy that a quantized network may lose, in [0, 1]


def calibration_batches(
    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]], count: int, pixels: str
) -> Iterator[NDArray[Any]]:
    """Yields images that represent all `count` images of a split, as the graph takes them: (n, 3, side, side)."""
    chosen = np.unique(np.linspace(0, count - 1, min(count, CALIBRATION)).astype(np.int64))
    for start in range(0, len(chosen), BATCH):
        yield np.ascontiguousarray(read(chosen[start : start + BATCH]).transpose(0, 3, 1, 2), pixels)


def quantized(content: bytes, batches: Iterator[NDArray[Any]]) -> bytes:
    """Quantizes the convolutional and fully connected layers of an ONNX file to 8 bits.

    Args:
        batches: images on which the ranges are measured.
    """
    onnx = need_onnx()
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Gives the batches in the form that onnxruntime requires."""

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            batch = next(batches, None)
            return None if batch is None else {PIXELS: batch}

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # onnxruntime recommends steps that would change the names in the graph
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
