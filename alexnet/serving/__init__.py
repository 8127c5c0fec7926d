"""Answers over HTTP.

Reading order: `settings`, `counters`, `problems`, `schemas`, `tarball`, `access`, `server`, `batching`, `models`,
`service`, `routes`, `app`.
"""
