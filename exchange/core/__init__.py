"""The rules of the ledger: pure functions over data that was brought to them, with no clock and no I/O."""
