"""Callers of Tongdui: what is here imports the adapter and the contract, and starts the programs."""
