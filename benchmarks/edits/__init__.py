"""Refactorings of real code: what they cost in forwards and time, and whether they come out right.

`python -m benchmarks.edits`: see `__main__.py`. `edits.jsonl` is the set that `seedls eval edits` runs.
"""
