"""One module per command family: what a command needs to be loaded, and what becomes of it."""
