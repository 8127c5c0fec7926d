"""What this machine computes with: compiled loops, their operators, memory, devices.

Reading order: `jit`, `norm_pool_loops`, `crop_loops`, `operators`, `allocator`, `device`.
"""
