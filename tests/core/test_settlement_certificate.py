"""The checks of a certificate, each made to fail by the one thing it guards, and the document itself."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from settlement.core.certificate import (
    DocumentMalformed,
    canonical_json,
    certificate_content,
    document_bytes,
    signed_text,
    split_document,
)
from settlement.core.checks import CHECKS, Case, Previous, failed, run_checks
from settlement.core.netting import Flow, Pair
from settlement.core.parties import OPERATOR, POOL
from settlement.core.points import EntrySum, LegSum, UnknownAccount, roll_forward
from settlement.core.reconciled import Records
from settlement.core.rounding import ROUNDING_PAIR
from settlement.core.window import (
    NOTHING_YET,
    ClosedWindow,
    Computed,
    HubReceipt,
    Ledger,
    WindowSums,
    compute,
)

LEDGER = Ledger("hub.example/prod", "CNY", 2, "Asia/Shanghai", 0)
SUMS = WindowSums(
    flows=(
        Flow("A", "ISSUE_FUNDING", POOL, "ISSUE_FUNDING", 150_000, 2),
        Flow(POOL, "BURN_FUNDING", "B", "BURN_REIMBURSE", 47_500, 1),
        Flow(POOL, "BURN_FUNDING", OPERATOR, "SPREAD", 2_500, 1),
    ),
    legs=(
        LegSum("A", "open", "burned", 10_000, 10_000, 5, 1),
        LegSum("A", "issued", "open", 10_000, 10_000, 15, 2),
    ),
    entries=(EntrySum(3, 1, 3),),
)
WINDOW = ClosedWindow(date(2026, 1, 1), 1, 3, bytes(range(32)), 3, datetime(2026, 1, 2, tzinfo=UTC))
RECEIPT = HubReceipt(
    "/p.S/M", b"request", (("signature", "td=:x:"),), b"response", (("signature", "hub=:y:"),)
)
SOUND = Case(
    ledger=LEDGER,
    window=WINDOW,
    seen_window=WINDOW,
    receipt_fault="",
    previous=None,
    hub_windows_before=0,
    certified_before=0,
    sums=SUMS,
    before=NOTHING_YET,
    stored=compute(NOTHING_YET, SUMS, 10_000),
)


def with_line(case: Case, pair: Pair, **changes: Any) -> Case:
    lines = [replace(line, **changes) if line.pair == pair else line for line in case.stored.lines]
    assert lines != list(case.stored.lines)
    return replace(case, stored=replace(case.stored, lines=tuple(lines)))


def with_issuer(case: Case, **changes: Any) -> Case:
    return replace(case, stored=replace(case.stored, issuers=(replace(case.stored.issuers[0], **changes),)))


def with_sums(case: Case, sums: WindowSums) -> Case:
    return replace(case, sums=sums, stored=compute(NOTHING_YET, sums, 10_000))


def test_a_sound_window_passes_every_check() -> None:
    checks = run_checks(SOUND)

    assert failed(checks) == ()
    assert len(checks) == len(CHECKS)
    assert len({check.name for check in checks}) == len(CHECKS)


EARLIER = ClosedWindow(date(2025, 12, 31), 1, 0, bytes(32), 0, datetime(2026, 1, 1, tzinfo=UTC))
FUNDING = ("A", "ISSUE_FUNDING")
BROKEN: dict[str, tuple[str, Callable[[Case], Case]]] = {
    "a receipt that does not verify": (
        "hub_receipt",
        lambda case: replace(case, receipt_fault="bad signature"),
    ),
    "a view with another hash": (
        "hub_receipt",
        lambda case: replace(case, seen_window=replace(WINDOW, last_hash=bytes(32))),
    ),
    "a view without the window": ("hub_receipt", lambda case: replace(case, seen_window=None)),
    "a window before that settlement has not": (
        "windows_in_order",
        lambda case: replace(case, hub_windows_before=1),
    ),
    "a window before without certificate": (
        "windows_in_order",
        lambda case: replace(case, previous=Previous(EARLIER, "")),
    ),
    "an entry too few": ("entry_count", lambda case: replace(case, window=replace(WINDOW, entry_count=4))),
    "an entry after the watermark": (
        "chain_range",
        lambda case: replace(case, window=replace(WINDOW, last_sequence=2)),
    ),
    "an entry before the range": (
        "chain_range",
        lambda case: replace(case, window=replace(WINDOW, first_sequence=2)),
    ),
    "a gap after the window before": (
        "chain_range",
        lambda case: replace(case, previous=Previous(replace(EARLIER, last_sequence=4), "aa")),
    ),
    "a changed exact amount": ("recomputed", lambda case: with_line(case, FUNDING, exact_micros=-150_001)),
    "other points before the window": (
        "recomputed",
        lambda case: replace(case, before=Computed((), case.stored.issuers)),
    ),
    "a partner's file that is waited for": (
        "reconciled",
        lambda case: replace(case, records=Records(expected=("A",))),
    ),
    "a point from nowhere": ("points_conserved", lambda case: with_issuer(case, open=11)),
    "points below zero": ("points_conserved", lambda case: with_issuer(case, open=-1, held=11)),
    "a move that made a point": ("points_conserved", lambda case: with_issuer(case, moved_in=1, open=11)),
    "a fen from nowhere": ("nets_zero", lambda case: with_line(case, FUNDING, amount_minor=-16)),
    "a micro to date from nowhere": (
        "nets_zero",
        lambda case: with_line(case, FUNDING, exact_to_date_micros=-150_001),
    ),
    "a line of a pair without the other side's": (
        "bilateral_opposite",
        lambda case: with_line(case, FUNDING, component="BILATERAL:B"),
    ),
    "an escrow that points do not need": (
        "escrow_proof",
        lambda case: with_issuer(case, escrow_micros=100_001),
    ),
    "a burn that paid for other points": (
        "escrow_proof",
        lambda case: with_sums(case, replace(SUMS, legs=(replace(SUMS.legs[0], points=4), SUMS.legs[1]))),
    ),
    "too much rounding to date": (
        "rounding_to_date",
        lambda case: with_line(case, ROUNDING_PAIR, amount_to_date_minor=3),
    ),
    "too much rounding in the window": (
        "rounding_in_window",
        lambda case: with_line(case, ROUNDING_PAIR, amount_minor=-5),
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_each_check_fails_for_what_it_guards(what: str) -> None:
    name, damage = BROKEN[what]

    checks = run_checks(damage(SOUND))

    assert name in [check.name for check in failed(checks)]


def test_every_check_has_a_case_that_breaks_it() -> None:
    assert {name for name, _ in BROKEN.values()} == {check.name for check in run_checks(SOUND)}


def test_points_are_followed_through_every_account() -> None:
    def moved(source: str, target: str, points: int) -> LegSum:
        return LegSum("A", source, target, 10, 4, points, 1)

    journey = [moved("issued", "open", 100), moved("open", "held", 30), moved("held", "burned", 20)]
    journey += [moved("held", "open", 10), moved("burned", "open", 5), moved("open", "expired", 15)]
    journey += [moved("open", "clawed_back", 8), moved("open", "absorbed", 7)]
    journey += [moved("open", "moved_out", 25), moved("moved_in", "open", 25)]

    (issuer,) = roll_forward((), journey)

    assert (issuer.issued, issuer.moved_in, issuer.open, issuer.held) == (100, 25, 55, 0)
    assert (issuer.burned, issuer.expired, issuer.clawed_back) == (15, 15, 8)
    assert (issuer.absorbed, issuer.moved_out) == (7, 25)
    assert (issuer.liability_micros, issuer.escrow_micros) == (550, 220)
    assert issuer.conserved


def test_an_account_this_version_does_not_know_is_refused() -> None:
    with pytest.raises(UnknownAccount, match="lost"):
        LegSum("A", "issued", "lost", 1, 1, 1, 1)


def document(case: Case = SOUND) -> bytes:
    content = canonical_json(certificate_content(case, run_checks(case), RECEIPT))
    return document_bytes(content, "settlement.key", "public", bytes(64))


def test_a_certificate_is_the_same_bytes_whenever_it_is_made() -> None:
    shuffled = replace(SOUND, stored=compute(NOTHING_YET, replace(SUMS, legs=SUMS.legs[::-1]), 10_000))

    assert document(shuffled) == document()


def test_the_signed_content_stands_verbatim_in_the_document() -> None:
    content, fields = split_document(document())

    assert document().startswith(b'{"certificate":' + content + b',"signature":')
    assert signed_text(content) == b"tongdui-certificate-v1\n" + content
    assert fields["key_id"] == "settlement.key"


def test_a_certificate_states_nets_that_sum_to_zero_and_every_check() -> None:
    certificate = json.loads(document())["certificate"]

    assert sum(statement["net_minor"] for statement in certificate["statements"]) == 0
    assert [check["holds"] for check in certificate["checks"]] == [True] * len(CHECKS)
    assert certificate["window"]["close_time"] == "2026-01-02T00:00:00.000000Z"
    assert certificate["previous_certificate_sha256"] == ""


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"certificate":{},"signature":{}}',
        b'{"certificate":{},"signature":[1]}',
        document() + b" ",
        document().replace(b'"algorithm"', b' "algorithm"'),
        document().replace(b'"holds":true', b'"holds": true', 1),
        document().replace(b'"signature":"AAAA', b'"signature":"*AAA'),
    ],
    ids=range(10),
)
def test_a_document_in_any_other_spelling_is_refused(damaged: bytes) -> None:
    with pytest.raises(DocumentMalformed):
        split_document(damaged)


def test_a_float_cannot_enter_a_certificate() -> None:
    with pytest.raises(TypeError, match="float"):
        canonical_json({"amounts": [1, 2.0]})
