"""Evaluation: what a network answers for images, and how good these answers are.

Reading order: `views`, `calibration`, `abstention`, `promises`, `classifier`, `evaluate`, `run_calibration`, `predict`,
`intervals`, `compare`, `ensemble`, `assumptions`.
"""
