"""The page of `alexnet explore`.

Reading order: `images`, `network_view`, `comparison`, `state`, `routes`; the page's own files are in `static/`.
"""
