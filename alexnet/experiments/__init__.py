"""Experiments of many runs: ablations and comparisons with confidence intervals.

Reading order: `results`, `runner`, `ablation`, `page`.
"""
