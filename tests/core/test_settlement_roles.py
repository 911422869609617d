"""The role matrix of settlement, cell by cell, and the chain of deeds."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from settlement.core.deed import (
    FIRST_AUDIT_HASH,
    AuditRow,
    Person,
    audit_hash,
    deed_text,
    row_fault,
    text_content,
)
from settlement.core.roles import Act, Role, known_roles, may, role_for

MAKER, CHECKER, OPERATOR = Role.FINANCE_MAKER, Role.FINANCE_CHECKER, Role.OPERATOR
AUDITOR, PARTNER, PROGRAM = Role.AUDITOR, Role.PARTNER, Role.SETTLEMENT
COLUMNS = (MAKER, CHECKER, OPERATOR, AUDITOR, PARTNER, PROGRAM)

MATRIX = """
    act                  maker checker operator auditor partner program
    close                  x      .       x        .       .       x
    net                    x      .       x        .       .       x
    certify                x      .       x        .       .       x
    audit_journal          x      x       x        .       .       x
    abort                  x      .       .        .       .       .
    approve                .      x       .        .       .       .
    export                 x      .       .        .       .       x
    mark_payment           x      .       .        .       .       .
    propose_default        x      .       .        .       .       .
    approve_default        .      x       .        .       .       .
    settle                 x      .       .        .       .       x
    set_contract           x      .       .        .       .       .
    load_file              x      .       x        .       x       x
    set_profile            x      .       .        .       .       .
    reconcile              x      .       x        .       .       x
    propose_waiver         x      .       .        .       .       .
    approve_waiver         .      x       .        .       .       .
    reject_waiver          x      x       .        .       .       .
    assign_break           x      .       x        .       .       .
    comment_break          x      x       x        .       x       .
    clear_break            .      .       .        .       .       x
    escalate_break         .      .       .        .       .       x
    propose_resolution     x      .       .        .       .       .
    approve_resolution     .      x       .        .       .       .
    reject_resolution      .      x       .        .       .       .
    reopen_break           x      x       .        .       .       x
    propose_adjustment     x      .       .        .       .       .
    approve_adjustment     .      x       .        .       .       .
    withdraw_adjustment    x      x       .        .       .       .
    open_dispute           x      .       .        .       x       .
    answer_dispute         x      .       .        .       x       .
    decide_dispute         .      x       .        .       .       .
    expire_dispute         x      .       .        .       .       x
    read                   x      x       x        x       x       x
"""
CELLS = [
    (line.split()[0], role, mark == "x")
    for line in MATRIX.strip().splitlines()[1:]
    for role, mark in zip(COLUMNS, line.split()[1:], strict=True)
]
MOMENT = datetime(2026, 1, 2, 9, 0, tzinfo=UTC)
MEI = Person("Mei", "operator.k", "operator", frozenset({MAKER}))


@pytest.mark.parametrize(("label", "role", "allowed"), CELLS)
def test_each_role_may_do_exactly_what_the_matrix_says(label: str, role: Role, allowed: bool) -> None:
    act = next(one for one in Act if one.label == label)

    assert may([role], act) is allowed


def test_the_matrix_has_every_act() -> None:
    assert sorted({label for label, _, _ in CELLS}) == sorted(act.label for act in Act)


def test_an_auditor_changes_nothing() -> None:
    assert [act for act in Act if may([AUDITOR], act)] == [Act.READ]


def test_proposing_and_approving_are_never_one_roles_work() -> None:
    for first, second in (
        (Act.CERTIFY, Act.APPROVE),
        (Act.PROPOSE_RESOLUTION, Act.APPROVE_RESOLUTION),
        (Act.PROPOSE_ADJUSTMENT, Act.APPROVE_ADJUSTMENT),
        (Act.PROPOSE_WAIVER, Act.APPROVE_WAIVER),
        (Act.PROPOSE_DEFAULT, Act.APPROVE_DEFAULT),
    ):
        assert not set(first.roles) & set(second.roles)


def test_a_role_of_another_program_means_nothing_here_and_no_key_is_the_program() -> None:
    assert known_roles(["finance_maker", "publisher", "settlement"]) == {MAKER}


def test_somebody_with_several_roles_acts_in_the_one_that_may() -> None:
    assert role_for([AUDITOR, CHECKER], Act.APPROVE) is CHECKER
    assert role_for([AUDITOR, MAKER], Act.APPROVE) is None


def row(audit_id: int, previous_hash: bytes, reason: str = "agreed") -> AuditRow:
    text = deed_text(
        audience="hub.example/test",
        person=MEI,
        role=MAKER,
        act=Act.ABORT,
        item_kind="window",
        item_id="2026-01-01",
        reason=reason,
        before={"state": "COMPUTED"},
        after={"state": "CLOSED", "run_number": 2},
        public_key="AAAA",
        signed_time=MOMENT,
    )
    said = text_content(text)
    assert said is not None
    return AuditRow(
        audit_id=audit_id,
        act_time=MOMENT,
        **{
            name: said[name] for name in ("person", "key_id", "role", "act", "item_kind", "item_id", "reason")
        },
        before=said["before"],
        after=said["after"],
        text=text,
        signature=b"s" * 64,
        previous_hash=previous_hash,
        hash=audit_hash(previous_hash, MOMENT, text, b"s" * 64),
    )


def test_a_row_as_it_was_written_has_no_fault() -> None:
    first = row(1, FIRST_AUDIT_HASH)
    second = row(2, first.hash)

    assert row_fault(first, FIRST_AUDIT_HASH) == ""
    assert row_fault(second, first.hash) == ""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"person": "Liu"}, "person is not what was signed"),
        ({"reason": ""}, "reason is not what was signed"),
        ({"after": {"state": "CLOSED", "run_number": 3}}, "after is not what was signed"),
        ({"before": None}, "before is not what was signed"),
        ({"signature": b"t" * 64}, "its hash is not"),
        ({"text": b"{}"}, "its hash is not"),
        ({"act_time": MOMENT.replace(hour=8)}, "its hash is not"),
        ({"previous_hash": b"p" * 32}, "does not follow"),
    ],
)
def test_whatever_is_changed_in_a_row_is_named(change: dict[str, object], told: str) -> None:
    changed = replace(row(1, FIRST_AUDIT_HASH), **change)  # type: ignore[arg-type] # each value fits its field

    assert told in row_fault(changed, FIRST_AUDIT_HASH)


def test_a_row_that_is_taken_out_is_missed_by_the_next() -> None:
    first = row(1, FIRST_AUDIT_HASH)
    third = row(3, row(2, first.hash).hash)

    assert "does not follow" in row_fault(third, first.hash)
