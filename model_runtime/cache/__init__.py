"""Key/value caches, one idea a file."""
