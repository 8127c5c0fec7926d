"""What lies on a disk is whole.

Reading order: `files`, `checksums`, `locks`, `jsonl`, `download`.
"""
