"""Training on a bare machine that takes commands and small folders: parts in, a detached job, parts out."""
