"""Evaluation: what a network answers for images, and how good these answers are.

Reading order: `views`, `classifier`, `evaluate`, `predict`, `mistakes`, `intervals`, `compare`, `ensemble`,
`assumptions`.
"""
