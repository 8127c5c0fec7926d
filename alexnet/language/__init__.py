"""What people read, in their language: which one is meant, and a catalogue of every message.

The library speaks English. Whatever shows its words to people passes them through `Words`; programs (JSON, error codes)
get them as they are.
"""
