"""Training of the adapters: data, objectives, runs, held-out measurement, export.

Stands above the runtime: it may import `model_runtime`, nothing imports it. `python -m model_runtime.training --help`.
"""
