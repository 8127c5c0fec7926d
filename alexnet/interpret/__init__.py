"""What a trained network has learned, and why it answers as it does.

Reading order: `features`, `image_index`, `similar`, `attribution`, `filters`, `receptive_fields`, `contact_sheet`.
"""
