"""The page of `alexnet explore`.

Reading order: `pictures`, `network_view`, `comparison`, `state`, `routes`; the page's own files are in `static/`.
"""
