"""What is wrong with a set of images.

Reading order: `inspection`, `duplicates`, `findings`, `page`, `examine`.
"""
