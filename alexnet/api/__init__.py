"""What `import alexnet` offers, and what the command line calls: every verb is a function or a method here.

Reading order: `records`, `dataset`, `networks`, `image_input`, `model`, `run`, `plan`, `ablation`, `studies`.
`bars` and `notebook` show things to people.
"""
