"""HTML pages with everything inside: text, images, style and script in one file.

Reading order: `html`, `figures`, `charts`, `sections`, `calibration_section`, `good_for`, `run_report`.
"""
