"""Evaluation: what a network answers for images, and how good these answers are.

Reading order: `views`, `calibration`, `abstention`, `promises`, `out_of_distribution`, `classifier`, `evaluate`,
`run_calibration`, `run_distribution`, `predict`, `intervals`, `compare`, `ensemble`, `assumptions`.
"""
