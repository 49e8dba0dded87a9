"""Speed measurements: decoding policies, the latency of a forward by block size, load and memory, peers.

Driven by `model_runtime.evaluation.bench`. Quality is measured beside this package.
"""
