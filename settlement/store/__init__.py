"""Settlement and the database: what it reads from the hub, and its own tables."""
