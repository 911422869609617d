"""Rows: what is loaded and locked for a batch, what is saved, and what can be read."""
