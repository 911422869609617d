"""What a correction posts: the hub is brought to what the partner recorded, or it is said why not."""

from typing import Any

import pytest

from settlement.core.adjusting import (
    Difference,
    NothingToPost,
    Posting,
    Supplied,
    posting_content,
    posting_for,
    posting_from,
    posting_words,
)

AT = "2026-01-01T12:00:00+08:00"


def deal(kind: str = "earn", points: int = 16, **more: Any) -> dict[str, Any]:
    fields = {"kind": kind, "points": points, "event_time": AT, "member_id": "m-1", "store_id": "s"}
    return fields | {"terminal_id": "t", "reference": "R7", "request_id": "q-7", "part": 0} | more


def difference(
    kind: str, hub: dict[str, Any] | None, partner: dict[str, Any] | None, claimed: int = 0, owed: int = 0
) -> Difference:
    return Difference(kind, "b", hub, partner, claimed, owed)


@pytest.mark.parametrize(
    ("type_", "hub", "partner", "kind", "points"),
    [
        ("MISSING_AT_HUB", None, deal("earn", 250), "earn", 250),
        ("MISSING_AT_HUB", None, deal("burn", 70), "burn", 70),
        ("MISSING_AT_PARTNER", deal("earn", 1_500), None, "claw_back_earn", 1_500),
        ("MISSING_AT_PARTNER", deal("capture_burn", 70), None, "refund_burn", 70),
        ("AMOUNT_MISMATCH", deal("earn", 16), deal("earn", 17), "earn", 1),
        ("AMOUNT_MISMATCH", deal("earn", 17), deal("earn", 16), "claw_back_earn", 1),
        ("AMOUNT_MISMATCH", deal("burn", 100), deal("burn", 120), "burn", 20),
        ("AMOUNT_MISMATCH", deal("burn", 120), deal("burn", 100), "refund_burn", 20),
        ("AMOUNT_MISMATCH", deal("refund_burn", 5), deal("refund_burn", 3), "burn", 2),
    ],
)
def test_points_are_posted_as_the_kind_that_brings_them_over(
    type_: str, hub: dict[str, Any] | None, partner: dict[str, Any] | None, kind: str, points: int
) -> None:
    posting = posting_for(difference(type_, hub, partner))

    assert (posting.kind, posting.points, posting.partner_id) == (kind, points, "b")
    assert (posting.member_id, posting.event_time, posting.reference) == ("m-1", AT, "R7")
    assert posting.original_request_id == ("q-7" if kind in ("claw_back_earn", "refund_burn") else "")


@pytest.mark.parametrize(
    ("claimed", "owed", "payer", "payee", "micros"),
    [
        (6_650_000, 0, "OPERATOR", "b", 6_650_000),
        (-5, 0, "b", "OPERATOR", 5),
        (0, 10_200, "b", "OPERATOR", 10_200),
        (30, 10, "OPERATOR", "b", 20),
    ],
)
def test_money_alone_goes_to_whoever_the_partners_record_gives_it(
    claimed: int, owed: int, payer: str, payee: str, micros: int
) -> None:
    posting = posting_for(difference("FEE_VARIANCE", deal(), deal(), claimed, owed))

    assert posting == Posting("money", "b", AT, payer_id=payer, payee_id=payee, micros=micros)


@pytest.mark.parametrize(
    ("type_", "told"),
    [
        ("TIMING", "clears itself"),
        ("DUPLICATE", "the partner corrects its file"),
        ("WRONG_MEMBER", "two postings"),
        ("STATE_MISMATCH", "not corrected by a posting"),
        ("SETTLEMENT_SHORT", "not corrected by a posting"),
    ],
)
def test_what_no_single_posting_corrects_says_what_to_do_instead(type_: str, told: str) -> None:
    with pytest.raises(NothingToPost, match=told):
        posting_for(difference(type_, deal(), deal()))


def test_equal_points_and_money_leave_nothing_to_post() -> None:
    with pytest.raises(NothingToPost, match="nothing to post"):
        posting_for(difference("AMOUNT_MISMATCH", deal(), deal()))


def test_a_kind_the_hub_cannot_stand_for_is_refused() -> None:
    with pytest.raises(NothingToPost, match="exchange_in"):
        posting_for(difference("MISSING_AT_HUB", None, deal("exchange_in")))
    with pytest.raises(NothingToPost, match="not taken back"):
        posting_for(difference("MISSING_AT_PARTNER", deal("refund_burn"), None))


def test_what_neither_record_has_a_person_adds() -> None:
    bare = deal("refund_burn", 5, member_id="", store_id="", terminal_id="")
    broken = difference("MISSING_AT_HUB", None, bare)

    with pytest.raises(NothingToPost, match="--member, --store, --terminal, --original"):
        posting_for(broken)
    added = posting_for(broken, Supplied("m-2", "s-2", "t-2", "q-1"))

    assert (added.member_id, added.store_id, added.terminal_id) == ("m-2", "s-2", "t-2")
    assert (added.kind, added.original_request_id, added.points) == ("refund_burn", "q-1", 5)


def test_a_posting_survives_being_stored_and_is_said_in_a_line() -> None:
    posting = posting_for(difference("MISSING_AT_HUB", None, deal("earn", 250)))

    assert posting_from(posting_content(posting)) == posting
    assert posting_words(posting) == f"earn of 250 points at b for m-1, order R7, as of {AT}"
    money = posting_for(difference("ROUNDING", deal(), deal(), 10_000, 0))
    assert posting_words(money) == f"OPERATOR pays b 10,000 micros as of {AT}"
