"""Finds problems in a dataset: unreadable images, copies, leaks between splits, wrong labels.

Reading order: `inspection`, `duplicates`, `findings`, `page`, `examine`.
"""
