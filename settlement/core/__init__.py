"""The rules of settlement: pure functions over sums that were brought to them, with no clock and no I/O."""
