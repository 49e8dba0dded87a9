"""One module per command family: `register(commands)` adds its parsers, each with a function `args -> exit code`.

Nothing here imports torch or starts the runtime before a command runs.
"""
