"""The page of `alexnet explore`.

Reading order: `images`, `network_view`, `comparison`, `state`, `requests`, `learn_view`, `learn_routes`,
`lesson_routes`, `page_routes`, `routes`; the files of the page are in `static/`, and `runs/gallery` is a run that ships
with the package.
"""
