"""A slow, obvious ledger to compare the real one with.

Written from the rules (docs/ledger.md), not from the core, and shares no code with it: commands, terms and rate
cards are only looked at, field by field. It keeps one thing, the journal, and finds every figure by reading all
of it from the beginning. It takes one command at a time. Whatever it answers, the core must answer, and the
other way round.

Answers are dicts that compare equal when they say the same. An entry goes by the name of its decision,
(partner, request id), which no batching and no sweep changes.
"""

from tests.reference.journal import Journal
from tests.reference.ledger import ReferenceLedger
from tests.reference.records import Answer, Lot, Posting

__all__ = ["Answer", "Journal", "Lot", "Posting", "ReferenceLedger"]
