"""A defect behind a call: the caller gets an incident id, the log its place, and neither of them anybody's data."""

from __future__ import annotations

from tests.live_hub import EARN, Coalition

REFERENCE = "order-of-somebody"
BREAK = f"ALTER TABLE exchange.entries ADD CONSTRAINT broken CHECK (reference <> '{REFERENCE}')"
MEND = "ALTER TABLE exchange.entries DROP CONSTRAINT broken"


def test_the_log_of_an_incident_names_the_error_and_shows_no_row(coalition: Coalition) -> None:
    member_id = coalition.member("cafe")
    coalition.rows(BREAK)

    answer = coalition.wire.call(coalition.keys["cafe"], EARN, coalition.earn(member_id, reference=REFERENCE))

    coalition.rows(MEND)
    incident_id = answer.error_info.metadata["incident_id"]
    (line,) = [it for it in coalition.hub.log.read_text().splitlines() if incident_id in it]
    assert answer.reason == "INTERNAL"
    assert "CheckViolation 23514 broken" in line
    assert "save.py" in line
    log = coalition.hub.log.read_text()
    for secret in (REFERENCE, member_id, "Failing row"):
        assert secret not in log
