"""Imported by the process that copies come from: loads what numba needs before it can run any compiled loop.

That takes seconds of every process. A loop that starts no threads is called; one that does could not be used in copies.
"""

import numpy as np

from alexnet.kernels import crop_loops, norm_pool_loops  # noqa: F401 - loaded for the copies

norm_pool_loops.power(np.float32(16))
