"""Figures: how fast, against what. Callers of the programs, with baselines of their own on the same server."""
