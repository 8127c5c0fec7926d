"""The HTTP service of `alexnet serve`.

Reading order: `settings`, `counters`, `problems`, `schemas`, `tarball`, `access`, `server`, `batching`, `models`,
`service`, `routes`, `app`.
"""
