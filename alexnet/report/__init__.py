"""HTML pages that need nothing but themselves.

Reading order: `html`, `figures`, `charts`, `sections`, `run_report`.
"""
