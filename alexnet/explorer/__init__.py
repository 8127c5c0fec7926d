"""The page of `alexnet explore`.

Reading order: `images`, `network_view`, `comparison`, `state`, `routes`; the files of the page are in `static/`.
"""
