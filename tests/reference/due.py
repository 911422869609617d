"""What the hub posts by itself, before anything else is done with a member."""

from __future__ import annotations

from datetime import datetime

from tests.reference.arrival import expire
from tests.reference.journal import Journal
from tests.reference.records import HUB, HubsOwn, Posting, member_text
from tests.reference.spending import release


def post_what_is_due(journal: Journal, member: int, now: datetime, wall: datetime) -> None:
    """Holds lapse, pending earns are cancelled, lots past their day are emptied: each is an entry of its own."""
    for hold in journal.lapsed(member, wall):
        entry = _hubs_own("lapse", f"lapse:{hold.name}", member, now, wall)
        release(journal, entry, hold)
    for earn in journal.pending_due(member, now):
        entry = _hubs_own("cancel_earn", f"cancel:{earn.name}", member, now, wall)
        journal.write(entry, points=journal.left_pending(earn), original=earn)
    for lot in journal.open_lots(member):
        if lot.last_day < journal.day(now):
            text = f"expire:{member_text(member)}.{lot.sequence}:{lot.last_day.isoformat()}"
            entry = _hubs_own("expire", text, member, now, wall)
            points = journal.open(lot)
            journal.write(entry, points=points)
            expire(journal, entry, lot, points)


def _hubs_own(kind: str, request_id: str, member: int, now: datetime, wall: datetime) -> Posting:
    command = HubsOwn(HUB, request_id, kind, member, request_id)
    return Posting((HUB, request_id), kind, request_id, command, kind, now, wall)
