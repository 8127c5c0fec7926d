"""The lessons: code once, prose in English and Chinese, exercises that say what is right and why.

Reading order: `cells`, `prose`, `lesson` (what lies in `course/`), `execute`, `exercises`, `working_copy`, `check`
(the reader's file), `record` (how far the reader is), `words`; `notebook`, `site`, `build` make what is published.
"""
