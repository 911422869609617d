"""The hub: member accounts, rate cards, every points decision and the journal."""
