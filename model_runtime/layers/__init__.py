"""Layer families of the networks, one a file."""
