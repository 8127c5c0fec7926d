"""Many runs, and what they prove.

Reading order: `results`, `runner`, `ablation`, `page`.
"""
