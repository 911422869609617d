"""Settlement on the wire."""
