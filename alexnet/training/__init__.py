"""The training loop and what watches it.

Reading order: `optim`, `schedule`, `step`, `trainer`, `check`, `watchdog`, `divergence`, `monitor`, `loop`, `plan`,
`replay`, `bench`, `bench_layers`.
"""
