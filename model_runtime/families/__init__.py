"""Open diffusion models as data: which family a checkpoint belongs to, and everything that follows from it.

Owns the table (`table.py`), how a published `config.json` is read (`config.py`), tensor names and shapes (`names.py`)
and how a checkpoint is recognised (`recognise.py`). Knows no tensor, no tokenizer and no decoding loop: those read the
table. Adding a family is adding a row; it needs code only where its network or its prompt layout is new.
"""
