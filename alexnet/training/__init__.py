"""The training loop, and the checks and measurements around it.

Reading order: `optim`, `schedule`, `step`, `graphs`, `late`, `validation`, `trainer`, `check`, `watchdog`,
`divergence`, `monitor`, `loop`, `plan`, `replay`, `bench`, `bench_layers`.
"""
