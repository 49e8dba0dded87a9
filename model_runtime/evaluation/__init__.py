"""Quality and speed measurements of a loaded model: data readers, sandboxed test runs, scores, benchmarks.

`python -m model_runtime.evaluation NAME` scores quality, `python -m model_runtime.evaluation.bench` measures speed.
This package drives the public runtime; nothing of the product imports it.
"""
