"""Evaluation: what a network answers for images, and how good these answers are.

Reading order: `views`, `classifier`, `evaluate`, `predict`, `intervals`, `compare`, `ensemble`,
`assumptions`.
"""
