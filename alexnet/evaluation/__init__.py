"""What a network says of images, and how good that is.

Reading order: `views`, `classifier`, `evaluate`, `predict`, `mistakes`, `intervals`, `compare`, `ensemble`.
"""
