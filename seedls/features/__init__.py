"""One file per LSP method (or small family). Features do not import each other."""
