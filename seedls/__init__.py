"""The seedls language server: knows editors, not tensors."""

__version__ = "0.1.0"
