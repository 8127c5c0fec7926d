"""The training loop, and the checks and measurements around it.

Reading order: `optim`, `schedule`, `step`, `trainer`, `check`, `watchdog`, `divergence`, `monitor`, `loop`, `plan`,
`replay`, `bench`, `bench_layers`.
"""
