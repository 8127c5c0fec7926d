"""The command line: parse, call, show.

Reading order: `main`, then one file for each group of verbs, `terminal`, and the tables.
"""
