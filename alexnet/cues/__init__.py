"""What simple cues know about the classes: color, shape, and what should not know: size, file, compression, border.

Reading order: `pixels`, `files`, `kernel`, `measure`, `look`, `judge`, `store`.
"""
