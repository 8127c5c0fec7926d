"""What is inside a trained network.

Reading order: `features`, `image_index`, `similar`, `attribution`, `filters`, `receptive_fields`, `contact_sheet`.
"""
