"""One instruction carried through many files: finding them, cutting them into units, checking, writing, resuming.

`runner` joins the parts. Nothing here loads a model: the runtime is handed in, and one thread talks to it.
"""
