"""Settlement: who owes whom how much for each business day, and the proof of it. See `docs/settlement.md`."""
