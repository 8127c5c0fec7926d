"""Training one run with several processes.

Reading order: `collectives`, `data_parallel`, `tensor_parallel`, `towers`, `hybrid`, `cost`, `process`, `launch`,
`rendezvous`.
"""
