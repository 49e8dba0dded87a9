"""Keystroke replay: what a developer does, as text files, through the real server over standard streams.

`python -m benchmarks.replay`: see `__main__.py`.
"""
