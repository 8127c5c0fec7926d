"""Computes exact statistics over many images: the mean image, and mean, covariance, principal components of RGB.

All are computed from sums of integers, so they do not depend on the number of threads or the order of the images.
"""

import threading

import numpy as np
from numpy.typing import NDArray

from alexnet.data.loops import loaded


class PixelSums:
    """Sums over images, to which several threads may add."""

    def __init__(self, size: int):
        self.lock = threading.Lock()
        self.count = 0  # of images
        self.total = np.zeros((size, size, 3), np.int64)  # sum of the images
        self.products = np.zeros((3, 3), np.int64)  # sum of x x^T over all pixels x

    def add(self, pixels: NDArray[np.uint8]) -> None:
        """Adds an image (size, size, 3)."""
        if (loops := loaded()) is not None:
            with self.lock:
                self.count += 1
                size = len(pixels)
                loops.add_pixels(pixels.reshape(size, -1), self.total.reshape(size, -1), self.products)
            return
        flat = pixels.reshape(-1, 3).astype(np.float64)
        # Exact: all sums are integers below 2**53 up to images of 370,000 x 370,000 pixels.
        products = (flat.T @ flat).astype(np.int64)
        with self.lock:
            self.count += 1
            self.total += pixels
            self.products += products

    def mean_image(self) -> NDArray[np.float32]:
        """Computes the mean image: (size, size, 3) in 0..255."""
        mean: NDArray[np.float64] = self.total / max(self.count, 1)
        return mean.astype(np.float32)

    def color_statistics(self) -> dict[str, list[float] | list[list[float]]]:
        """Computes mean, standard deviation and principal components of RGB over all pixels (paper, sec. 4.1).

        The principal components are ordered by ascending standard deviation. The sign of an eigenvector is arbitrary;
        here the component of largest magnitude is positive.
        """
        pixels = self.count * self.total.shape[0] * self.total.shape[1]
        sums = [int(value) for value in self.total.sum(axis=(0, 1))]
        # Python integers: N*sum(xy) - sum(x)*sum(y) exceeds 64 bits, and floats would lose digits.
        covariance = np.array(
            [[(pixels * int(self.products[i, j]) - sums[i] * sums[j]) / pixels**2 for j in range(3)] for i in range(3)]
        )
        variances, vectors = np.linalg.eigh(covariance)
        largest = vectors[np.abs(vectors).argmax(axis=0), range(3)]
        return {
            "channel_mean": [value / pixels for value in sums],
            "channel_std": np.sqrt(covariance.diagonal()).tolist(),
            "color_stdevs": np.sqrt(variances.clip(0)).tolist(),
            "color_vectors": (vectors * np.sign(largest)).tolist(),
        }
