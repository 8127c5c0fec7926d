"""Files on disk that are complete or absent: written, checked, locked, appended to, downloaded.

Reading order: `files`, `checksums`, `locks`, `download`.
"""
