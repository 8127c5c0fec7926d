"""What depends on this machine: compiled loops, the PyTorch operators made of them, memory, devices.

Reading order: `jit`, `norm_pool_loops`, `crop_loops`, `prepare_loops`, `operators`, `device`; for CUDA cards
`triton_chain`, `triton_momentum`, `triton_choice`.
"""
