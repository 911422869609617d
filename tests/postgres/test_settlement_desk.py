"""The breaks desk on a real database: two people for one break, history for everything, disputes with deadlines."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import astuple, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError, ProgrammingError

from settlement.core.adjusting import NothingToPost, Posting, Supplied
from settlement.core.break_state import BreakActRefused, BreakState, Resolution
from settlement.core.roles import RoleMissing, SamePerson
from settlement.desk import BreakUnknown, Desk, Evidence
from settlement.people import Actor
from settlement.rpc.hub_client import HubUnreachable
from settlement.rpc.keys import PrivateKey
from settlement.store import desk as store
from settlement.store.audit import first_broken, read_audit
from settlement.store.corrections import list_forgotten_corrections
from settlement.store.engine import open_engine
from tests.conftest import Databases
from tests.postgres.breaks import EARN, NOW, TODAY
from tests.postgres.breaks import plant_break as found
from tests.settlement_hub import prepare, register

MEI, BO, BOSS, OPS, AUDITOR, PARTNER_A, PARTNER_B, BOTH = (
    PrivateKey(owner, name.ljust(32, b"-"))
    for owner, name in (
        ("operator", b"mei"),
        ("operator", b"bo"),
        ("operator", b"boss"),
        ("operator", b"ops"),
        ("operator", b"auditor"),
        ("a", b"a"),
        ("b", b"b"),
        ("operator", b"both"),
    )
)
STAFF = (
    (MEI, "Mei", ["finance_maker"]),
    (BO, "Bo", ["finance_maker"]),
    (BOSS, "Boss", ["finance_checker"]),
    (OPS, "Ops", ["operator"]),
    (AUDITOR, "Auditor", ["auditor"]),
    (PARTNER_A, "", ["partner"]),
    (PARTNER_B, "", ["partner"]),
    (BOTH, "Both", ["finance_maker", "finance_checker"]),
)


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    with databases.fresh() as prepared:
        prepare(prepared)
        for key, holder, roles in STAFF:
            register(prepared, key, holder, *roles)
        yield prepared


@pytest.fixture
def owner(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "TRUNCATE settlement.audit_log, settlement.breaks, exchange.adjustments_v1 CASCADE"
        )
        yield connection


@pytest.fixture
def engine(url: str, owner: psycopg.Connection[Any]) -> Iterator[Engine]:
    opened = open_engine(url)
    yield opened
    opened.dispose()


@contextmanager
def at_desk(engine: Engine, key: PrivateKey, now: datetime = NOW) -> Iterator[Desk]:
    with engine.begin() as connection:
        yield Desk(connection, Actor(key), now, TODAY)


@dataclass(slots=True)
class PeerCorrections:
    """The hub's corrections as the contract has them: one decision for a request id, posted or withdrawn, never both.

    `cut`: it decides, and then the caller is killed before it could keep the answer. `is_down`: it decides nothing.
    """

    owner: psycopg.Connection[Any]
    cut: bool = False
    is_down: bool = False
    proposed: dict[str, tuple[int, Posting, str]] = field(default_factory=dict)
    posted: dict[int, str] = field(default_factory=dict)

    def propose_adjustment(self, request_id: str, posting: Posting, reason: str) -> int:
        if request_id not in self.proposed:
            self._tell(
                "INSERT INTO exchange.adjustments_v1 VALUES (%s, %s, 'proposed')",
                len(self.proposed) + 1,
                request_id,
            )
        number, kept, why = self.proposed.setdefault(request_id, (len(self.proposed) + 1, posting, reason))
        assert (kept, why) == (posting, reason), "REQUEST_ID_REUSED"
        self._answered()
        return number

    def approve_adjustment(self, request_id: str, adjustment_id: int) -> tuple[str, dict[str, object]]:
        assert self.state(adjustment_id) != "withdrawn", "ADJUSTMENT_WITHDRAWN"
        entry_id = self.posted.setdefault(adjustment_id, f"9{adjustment_id}-0")
        self._move(adjustment_id, "posted")
        self._answered()
        return entry_id, {"path": request_id}

    def withdraw_adjustment(self, request_id: str, adjustment_id: int, reason: str) -> dict[str, object]:
        if self.is_down:
            raise HubUnreachable("the hub did not answer")
        assert self.state(adjustment_id) == "proposed", "ADJUSTMENT_POSTED, ADJUSTMENT_WITHDRAWN"
        self._move(adjustment_id, "withdrawn")
        self._answered()
        return {"path": request_id, "reason": reason}

    def state(self, adjustment_id: int) -> str:
        """What the hub says became of a correction."""
        found = self.owner.execute(
            "SELECT state FROM exchange.adjustments_v1 WHERE adjustment_id = %s", (adjustment_id,)
        ).fetchone()
        assert found is not None, "ADJUSTMENT_UNKNOWN"
        return str(found[0])

    def _move(self, adjustment_id: int, state: str) -> None:
        self._tell(
            "UPDATE exchange.adjustments_v1 SET state = %s WHERE adjustment_id = %s", state, adjustment_id
        )

    def _tell(self, statement: str, *values: object) -> None:
        self.owner.execute(statement.encode(), values)

    def _answered(self) -> None:
        if self.cut:
            raise KeyboardInterrupt


def expected(cut: bool) -> AbstractContextManager[object]:
    return pytest.raises(KeyboardInterrupt) if cut else nullcontext()


def test_a_break_is_assigned_proposed_for_and_resolved_by_another_person(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number = found(owner)

    with at_desk(engine, OPS) as desk:
        desk.assign(number, "Mei")
    with at_desk(engine, MEI) as desk:
        desk.propose(number, Resolution.WRITTEN_OFF, "below what a letter costs")
    with at_desk(engine, BOSS) as desk:
        resolved = desk.approve(number)

    assert (resolved.state, resolved.resolution, resolved.owner) == (
        BreakState.RESOLVED,
        "WRITTEN_OFF",
        "Mei",
    )
    assert (resolved.resolved_time, resolved.resolved_date) == (NOW, TODAY)
    with engine.begin() as connection:
        events = store.load_events(connection, number)
        assert first_broken(connection) is None
        deeds = read_audit(connection, item_kind="break", item_id=str(number))
    assert [(one.person, one.act, one.state_to) for one in events] == [
        ("Ops", "assign_break", "ASSIGNED"),
        ("Mei", "propose_resolution", "PENDING_RESOLUTION"),
        ("Boss", "approve_resolution", "RESOLVED"),
    ]
    assert [(one.person, one.act) for one in deeds] == [(one.person, one.act) for one in events]
    assert (deeds[0].before, deeds[0].after["owner"]) == ({"state": "OPEN", "owner": None}, "Mei")


def test_who_proposed_can_neither_approve_nor_reject_even_with_both_roles(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number = found(owner)
    with at_desk(engine, BOTH) as desk:
        desk.propose(number, Resolution.NO_ACTION, "nothing to do")

    with pytest.raises(SamePerson), at_desk(engine, BOTH) as desk:
        desk.approve(number)
    with pytest.raises(SamePerson), at_desk(engine, BOTH) as desk:
        desk.reject(number, "on second thought")
    with pytest.raises(psycopg.errors.CheckViolation, match="resolutions_two_people"):
        owner.execute(
            "UPDATE settlement.resolutions SET state = 'APPROVED', decided_by = 'Both', decide_time = now()"
        )


@pytest.mark.parametrize(
    ("key", "act"),
    [
        (OPS, "propose"),
        (BOSS, "propose"),
        (AUDITOR, "comment"),
        (AUDITOR, "assign"),
        (BOSS, "assign"),
        (OPS, "reopen"),
        (PARTNER_A, "propose"),
        (PARTNER_B, "comment"),
        (MEI, "decide"),
    ],
)
def test_a_refused_act_leaves_nothing(
    engine: Engine, owner: psycopg.Connection[Any], key: PrivateKey, act: str
) -> None:
    number = found(owner)
    resolved = found(owner, "TIMING", state="RESOLVED", resolution="AUTO_CLEARED")
    with at_desk(engine, PARTNER_A) as desk:
        dispute = desk.open_dispute(found(owner, "DUPLICATE"), "b", "it is theirs")
    with at_desk(engine, PARTNER_B) as desk:
        desk.answer_dispute(dispute.dispute_id, "it is not")
    before = owner.execute("SELECT count(*) FROM settlement.audit_log").fetchone()
    acts = {
        "propose": lambda desk: desk.propose(number, Resolution.NO_ACTION, "no"),
        "comment": lambda desk: desk.comment(number, "hm"),
        "assign": lambda desk: desk.assign(number, "Mei"),
        "reopen": lambda desk: desk.reopen(resolved, "again"),
        "decide": lambda desk: desk.decide_dispute(dispute.dispute_id, "a", "because"),
    }

    with pytest.raises(RoleMissing), at_desk(engine, key) as desk:
        acts[act](desk)

    assert owner.execute("SELECT count(*) FROM settlement.audit_log").fetchone() == before
    assert owner.execute(
        "SELECT state, owner FROM settlement.breaks WHERE break_id = %s", (number,)
    ).fetchone() == ("OPEN", None)


def test_a_rejected_proposal_opens_the_break_again_and_a_new_one_has_the_next_number(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number = found(owner)
    with at_desk(engine, MEI) as desk:
        desk.propose(number, Resolution.PARTNER_FIXED, "they will send a new file")

    with at_desk(engine, BOSS) as desk:
        assert desk.reject(number, "where is it?").state is BreakState.OPEN
    with at_desk(engine, MEI) as desk:
        again = desk.propose(number, Resolution.PARTNER_FIXED, "here it is")

    assert again.number == 2
    with engine.begin() as connection:
        proposals = store.load_resolutions(connection, number)
    assert [(one.state, one.decided_by) for one in proposals] == [("REJECTED", "Boss"), ("PROPOSED", None)]


def test_a_resolved_break_can_be_reopened(engine: Engine, owner: psycopg.Connection[Any]) -> None:
    number = found(owner, state="RESOLVED", resolution="AUTO_CLEARED", resolved_time=NOW, owner="Bo")

    with at_desk(engine, BOSS) as desk:
        again = desk.reopen(number, "it was another order")

    assert (again.state, again.resolution, again.resolved_time) == (BreakState.ASSIGNED, None, None)


def test_a_proposal_lapses_when_its_break_cleared_itself_and_was_reopened(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number = found(owner, "TIMING")
    with at_desk(engine, MEI) as desk:
        desk.propose(number, Resolution.NO_ACTION, "it will come")
    owner.execute("UPDATE settlement.breaks SET state = 'RESOLVED', resolution = 'AUTO_CLEARED'")

    with pytest.raises(BreakActRefused, match="nothing was proposed"), at_desk(engine, BOSS) as desk:
        desk.approve(number)
    with at_desk(engine, BO) as desk:
        desk.reopen(number, "that was another order")
        again = desk.propose(number, Resolution.WRITTEN_OFF, "it never came")

    assert again.number == 2
    with engine.begin() as connection:
        states = [one.state for one in store.load_resolutions(connection, number)]
    assert states == ["LAPSED", "PROPOSED"]


def test_a_correction_is_proposed_at_the_hub_and_posted_by_another_person(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number, hub = found(owner), PeerCorrections(owner)

    with at_desk(engine, MEI) as desk:
        shown = desk.posting(number)
        made = desk.propose_adjustment(number, "receipt seen", hub)
    with at_desk(engine, BOSS) as desk:
        resolved = desk.approve(number, hub)

    ((_, posting, reason),) = hub.proposed.values()
    assert posting == shown
    assert (posting.kind, posting.points, posting.event_time, reason) == (
        "earn",
        250,
        EARN["event_time"],
        "receipt seen",
    )
    assert (made.adjustment_id, resolved.resolution) == (1, "ADJUSTED")
    with engine.begin() as connection:
        (kept,) = store.load_resolutions(connection, number)
        deeds = read_audit(connection, item_kind="break", item_id=str(number))
    assert (kept.state, kept.entry_id, kept.decided_by) == ("APPROVED", "91-0", "Boss")
    assert deeds[-1].after["receipt"] == {"path": f"break-{number}-approve-1"}


def test_a_correction_cut_off_after_the_hub_answered_is_the_same_one_when_repeated(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number, hub = found(owner), PeerCorrections(owner)

    for cut in (True, False):
        hub.cut = cut
        with expected(cut), at_desk(engine, MEI) as desk:
            desk.propose_adjustment(number, "receipt seen", hub)
    for cut in (True, False):
        hub.cut = cut
        with expected(cut), at_desk(engine, BOSS) as desk:
            desk.approve(number, hub)

    assert (len(hub.proposed), hub.posted) == (1, {1: "91-0"})
    with engine.begin() as connection:
        (kept,) = store.load_resolutions(connection, number)
        events = store.load_events(connection, number)
    assert (kept.adjustment_id, kept.entry_id) == (1, "91-0")
    assert [one.act for one in events] == ["propose_adjustment", "approve_adjustment"]


def propose_correction(engine: Engine, number: int, hub: PeerCorrections, member: str = "m-1") -> int:
    with at_desk(engine, MEI) as desk:
        made = desk.propose_adjustment(number, "receipt seen", hub, Supplied(member_id=member))
    assert made.adjustment_id is not None
    return made.adjustment_id


def test_a_rejected_correction_is_withdrawn_at_the_hub_and_a_new_one_may_post_something_else(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number, hub = found(owner, partner=json.dumps(EARN | {"member_id": ""})), PeerCorrections(owner)
    first = propose_correction(engine, number, hub)

    with at_desk(engine, BOSS) as desk:
        rejected = desk.reject(number, "show it to me", hub)
    second = propose_correction(engine, number, hub, "m-2")
    with at_desk(engine, BOSS) as desk:
        desk.approve(number, hub)

    assert rejected.state is BreakState.OPEN
    assert (hub.state(first), hub.state(second)) == ("withdrawn", "posted")
    assert hub.posted == {second: f"9{second}-0"}
    with engine.begin() as connection:
        deeds = read_audit(connection, item_kind="break", item_id=str(number))
    told = next(one.after for one in deeds if one.act == "reject_resolution")
    assert told is not None
    assert told["withdrawn"] == {
        str(first): {"path": f"break-{number}-withdraw-{first}", "reason": "show it to me"}
    }


def test_a_rejection_whose_withdrawal_the_hub_does_not_answer_rejects_nothing_and_is_repeated(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number, hub = found(owner), PeerCorrections(owner, is_down=True)
    made = propose_correction(engine, number, hub)

    with pytest.raises(HubUnreachable), at_desk(engine, BOSS) as desk:
        desk.reject(number, "no", hub)
    hub.is_down, hub.cut = False, True
    with pytest.raises(KeyboardInterrupt), at_desk(engine, BOSS) as desk:
        desk.reject(number, "no", hub)
    with engine.begin() as connection:
        kept = store.load_break(connection, number)
    hub.cut = False
    with at_desk(engine, BOSS) as desk:
        rejected = desk.reject(number, "no", hub)

    assert kept is not None
    assert (kept.state, rejected.state) == (BreakState.PENDING_RESOLUTION, BreakState.OPEN)
    assert hub.state(made) == "withdrawn"


def test_a_correction_that_was_posted_past_the_desk_is_not_rejected(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number, hub = found(owner), PeerCorrections(owner)
    made = propose_correction(engine, number, hub)
    hub.approve_adjustment("by-console", made)

    with pytest.raises(BreakActRefused, match=f"adjustment {made} .* posted"), at_desk(engine, BOSS) as desk:
        desk.reject(number, "no", hub)


def clear(owner: psycopg.Connection[Any], number: int) -> None:
    """The program finds the other side of a break."""
    owner.execute(
        "UPDATE settlement.breaks SET state = 'RESOLVED', resolution = 'AUTO_CLEARED' WHERE break_id = %s",
        (number,),
    )


def reopened(engine: Engine, owner: psycopg.Connection[Any], hub: PeerCorrections) -> tuple[int, int]:
    """A break whose correction lapsed, because it cleared itself meanwhile; and that correction."""
    number = found(owner, partner=json.dumps(EARN | {"member_id": ""}))
    made = propose_correction(engine, number, hub)
    clear(owner, number)
    with at_desk(engine, BO) as desk:
        desk.reopen(number, "that was another order")
    return number, made


@pytest.mark.parametrize("kind", [Resolution.WRITTEN_OFF, Resolution.NO_ACTION, Resolution.PARTNER_FIXED])
def test_a_break_that_ends_without_a_posting_leaves_no_correction_that_could_still_be_posted(
    engine: Engine, owner: psycopg.Connection[Any], kind: Resolution
) -> None:
    hub = PeerCorrections(owner)
    number, made = reopened(engine, owner, hub)
    with at_desk(engine, MEI) as desk:
        desk.propose(number, kind, "it never came")

    with pytest.raises(BreakActRefused, match=f"holds adjustment {made}"), at_desk(engine, BOSS) as desk:
        desk.approve(number)
    with at_desk(engine, BOSS) as desk:
        desk.approve(number, hub)

    assert hub.state(made) == "withdrawn"


def test_a_correction_that_was_cut_off_is_withdrawn_with_the_break_it_was_for(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number, hub = found(owner), PeerCorrections(owner, cut=True)
    with pytest.raises(KeyboardInterrupt):
        propose_correction(engine, number, hub)
    hub.cut = False

    with at_desk(engine, BO) as desk:
        desk.propose(number, Resolution.WRITTEN_OFF, "too small")
    with at_desk(engine, BOSS) as desk:
        desk.approve(number, hub)

    assert hub.state(1) == "withdrawn"


def test_a_correction_that_lapsed_is_taken_up_again_by_a_proposal_of_the_same(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    hub = PeerCorrections(owner)
    number, made = reopened(engine, owner, hub)

    with at_desk(engine, BO) as desk:
        again = desk.propose_adjustment(number, "it was this order", hub, Supplied(member_id="m-1"))

    assert (again.number, again.adjustment_id, len(hub.proposed)) == (2, made, 1)


def test_a_correction_that_posts_something_else_than_one_that_lapsed_waits_for_its_withdrawal(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    hub = PeerCorrections(owner)
    number, made = reopened(engine, owner, hub)

    with pytest.raises(BreakActRefused, match=f"still holds adjustment {made}"):
        propose_correction(engine, number, hub, "m-2")
    with at_desk(engine, BOSS) as desk:
        desk.withdraw(number, "another member's", hub)
    again = propose_correction(engine, number, hub, "m-2")

    assert (hub.state(made), hub.state(again)) == ("withdrawn", "proposed")
    with pytest.raises(BreakActRefused, match="needs OPEN"), at_desk(engine, BOSS) as desk:
        desk.withdraw(number, "it is pending", hub)


def test_a_correction_of_a_break_that_cleared_itself_waits_for_somebody_to_withdraw_it(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    hub = PeerCorrections(owner)
    number = found(owner)
    made = propose_correction(engine, number, hub)
    pending = forgotten(engine)

    clear(owner, number)
    cleared = forgotten(engine)
    with at_desk(engine, BOSS) as desk:
        kept = desk.withdraw(number, "the order came", hub)
    with pytest.raises(BreakActRefused, match="no correction"), at_desk(engine, BOSS) as desk:
        desk.withdraw(number, "once more", hub)

    assert (pending, cleared, forgotten(engine)) == ([], [(made, number, "a")], [])
    assert (kept.state, hub.state(made)) == (BreakState.RESOLVED, "withdrawn")


def forgotten(engine: Engine) -> list[tuple[int, int, str]]:
    with engine.begin() as connection:
        return [astuple(one) for one in list_forgotten_corrections(connection)]


ANOTHER = {"request_id": "", "partner": json.dumps(EARN | {"points": 260})}


def test_a_deal_that_was_corrected_is_not_corrected_again_as_another_break(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number, hub = found(owner), PeerCorrections(owner)
    other, unrelated = found(owner, **ANOTHER), found(owner, partner=json.dumps(EARN | {"reference": "R10"}))
    propose_correction(engine, number, hub)
    with pytest.raises(BreakActRefused, match=f"proposed for break {number}"):
        propose_correction(engine, other, hub)
    with at_desk(engine, BOSS) as desk:
        desk.approve(number, hub)

    with pytest.raises(BreakActRefused, match=f"corrected as break {number}, by adjustment 1"):
        propose_correction(engine, other, hub)
    propose_correction(engine, unrelated, hub)

    assert hub.posted == {1: "91-0"}


def test_a_deal_is_corrected_as_another_break_once_the_first_correction_is_withdrawn(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number, other, hub = found(owner), found(owner, **ANOTHER), PeerCorrections(owner)
    propose_correction(engine, number, hub)
    with at_desk(engine, BOSS) as desk:
        desk.reject(number, "it is 260", hub)

    made = propose_correction(engine, other, hub)

    assert hub.state(made) == "proposed"


def test_a_correction_that_somebody_else_had_posted_at_the_hub_is_taken_over(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number, hub = found(owner), PeerCorrections(owner)
    with at_desk(engine, MEI) as desk:
        made = desk.propose_adjustment(number, "receipt seen", hub)
    owner.execute(
        "INSERT INTO exchange.posted_requests_v1 (partner_id, request_id, kind, reference, part, batch_sequence,"
        " entry_index) VALUES ('OPERATOR', 'by-console', 'adjust', %s, 0, 7, 2)",
        (f"adjustment-{made.adjustment_id}",),
    )
    owner.execute(
        "INSERT INTO exchange.chained_entries_v1 (batch_sequence, batch_id, entry_index) VALUES (7, 77, 2)"
    )

    try:
        with at_desk(engine, BOSS) as desk:
            resolved = desk.approve(number, hub)
    finally:
        owner.execute("DELETE FROM exchange.posted_requests_v1; DELETE FROM exchange.chained_entries_v1")

    with engine.begin() as connection:
        (kept,) = store.load_resolutions(connection, number)
    assert (resolved.resolution, kept.entry_id, hub.posted) == ("ADJUSTED", "77-2", {})


def test_a_break_is_corrected_once_however_often_it_is_reopened(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number, hub = found(owner), PeerCorrections(owner)
    with at_desk(engine, MEI) as desk:
        desk.propose_adjustment(number, "receipt seen", hub)
    with at_desk(engine, BOSS) as desk:
        desk.approve(number, hub)
        desk.reopen(number, "was it that order?")

    with pytest.raises(BreakActRefused, match="corrected by entry 91-0"), at_desk(engine, MEI) as desk:
        desk.propose_adjustment(number, "once more", hub)
    with at_desk(engine, MEI) as desk:
        desk.propose(number, Resolution.NO_ACTION, "it was")

    assert hub.posted == {1: "91-0"}


def test_what_the_records_lack_is_supplied_or_nothing_is_posted(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number, hub = found(owner, partner=json.dumps(EARN | {"member_id": ""})), PeerCorrections(owner)

    with pytest.raises(NothingToPost, match="--member"), at_desk(engine, MEI) as desk:
        desk.propose_adjustment(number, "receipt seen", hub)
    with at_desk(engine, MEI) as desk:
        desk.propose_adjustment(number, "receipt seen", hub, Supplied(member_id="m-2"))

    ((_, posting, _),) = hub.proposed.values()
    assert posting.member_id == "m-2"


def test_evidence_is_kept_byte_for_byte_once_and_named_in_the_history(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number, photo = found(owner), Evidence("receipt.jpg", b"\xff\xd8" + bytes(1_000))

    for _ in range(2):
        with at_desk(engine, PARTNER_A) as desk:
            desk.comment(number, "here is our receipt", photo)

    sha256 = hashlib.sha256(photo.content).hexdigest()
    with engine.begin() as connection:
        assert store.load_evidence(connection, number, sha256) == ("receipt.jpg", photo.content)
        events = store.load_events(connection, number)
    assert [one.person for one in events] == ["a", "a"]
    assert events[0].evidence == {"file_name": "receipt.jpg", "byte_count": 1_002, "sha256": sha256}
    assert owner.execute("SELECT count(*) FROM settlement.break_evidence").fetchone() == (1,)


@pytest.mark.parametrize(("name", "size"), [("x", 0), ("x", 10 * 1024 * 1024 + 1), ("", 1)])
def test_evidence_has_a_name_and_a_size_that_can_be_kept(name: str, size: int) -> None:
    with pytest.raises(ValueError, match="evidence"):
        Evidence(name, bytes(size))


def test_a_dispute_is_answered_decided_and_keeps_its_break_from_being_resolved(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number = found(owner)
    with at_desk(engine, PARTNER_A) as desk:
        opened = desk.open_dispute(number, "b", "B cancelled the sale", timedelta(days=3))

    with pytest.raises(BreakActRefused, match="decided first"), at_desk(engine, MEI) as desk:
        desk.propose(number, Resolution.NO_ACTION, "no")
    with pytest.raises(BreakActRefused, match="decided first"), at_desk(engine, PARTNER_A) as desk:
        desk.open_dispute(number, "c", "or C")
    with pytest.raises(RoleMissing, match="not a's own"), at_desk(engine, PARTNER_A) as desk:
        desk.answer_dispute(opened.dispute_id, "we agree with ourselves")
    with at_desk(engine, PARTNER_B) as desk:
        answered = desk.answer_dispute(opened.dispute_id, "we did not", Evidence("log.txt", b"sold"))
    with at_desk(engine, BOSS) as desk:
        decided = desk.decide_dispute(opened.dispute_id, "b", "the log is signed")
    with at_desk(engine, MEI) as desk:
        desk.propose(number, Resolution.NO_ACTION, "A bears it")

    assert (opened.state, opened.deadline) == ("OPEN", NOW + timedelta(days=3))
    assert (answered.state, answered.answered_person) == ("ANSWERED", "b")
    assert (decided.state, decided.in_favour_of, decided.decided_by) == ("DECIDED", "b", "Boss")


def test_an_unanswered_dispute_expires_and_is_decided_on_the_claim_alone(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number = found(owner)
    with at_desk(engine, PARTNER_A) as desk:
        opened = desk.open_dispute(number, "b", "B cancelled the sale", timedelta(days=3))
    late = NOW + timedelta(days=3, seconds=1)

    with at_desk(engine, MEI, now=NOW + timedelta(days=3)) as desk:
        assert desk.late_disputes() == []
    with engine.begin() as connection:
        program = Desk(connection, Actor(None, unattended=True), late, TODAY)
        (expired,) = [program.expire_dispute(one) for one in program.late_disputes()]
    with pytest.raises(BreakActRefused), at_desk(engine, PARTNER_B, now=late) as desk:
        desk.answer_dispute(opened.dispute_id, "sorry, late")
    with at_desk(engine, BOSS, now=late) as desk:
        decided = desk.decide_dispute(opened.dispute_id, "a", "nobody spoke against it")

    assert (expired.state, decided.state, decided.answer) == ("EXPIRED", "DECIDED", None)


def test_a_dispute_is_between_the_breaks_partner_and_another_of_the_coalition(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number = found(owner)

    for against, by, error in (
        ("a", None, BreakActRefused),
        ("c", "b", BreakActRefused),
        ("nobody", None, BreakUnknown),
    ):
        with pytest.raises(error), at_desk(engine, MEI) as desk:
            desk.open_dispute(number, against, "claim", opened_by=by)
    with pytest.raises(BreakActRefused, match="60 days"), at_desk(engine, MEI) as desk:
        desk.open_dispute(number, "b", "claim", timedelta(days=61))
    with at_desk(engine, BOTH) as desk:
        dispute = desk.open_dispute(number, "b", "for A, by telephone")
    with at_desk(engine, MEI) as desk:
        desk.answer_dispute(dispute.dispute_id, "for B, by telephone")
    with pytest.raises(SamePerson), at_desk(engine, BOTH) as desk:
        desk.decide_dispute(dispute.dispute_id, "a", "I said so")


def test_breaks_are_listed_by_what_matters(engine: Engine, owner: psycopg.Connection[Any]) -> None:
    old = found(owner, opened_date=TODAY - timedelta(days=40))
    late = found(owner, "DUPLICATE", partner_id="b", due_time=NOW - timedelta(seconds=1))
    young = found(owner, "TIMING", opened_date=TODAY, due_time=NOW + timedelta(hours=1))
    done = found(owner, "ROUNDING", state="RESOLVED", resolution="AUTO_CLEARED")

    with engine.begin() as connection:

        def listed(**wanted: Any) -> list[int]:
            chosen = store.BreakFilter(**wanted)
            numbers = [one.break_id for one in store.list_breaks(connection, chosen, 100)]
            assert store.count_breaks(connection, chosen) == len(numbers)
            return numbers

        assert listed() == [old, late, young, done]
        assert listed(unresolved=True) == [old, late, young]
        assert listed(overdue_at=NOW) == [old, late]
        assert listed(partner_id="b") == [late]
        assert listed(type="TIMING") == [young]
        assert listed(state=BreakState.RESOLVED) == [done]
        assert listed(unresolved=True, last_opened=TODAY - timedelta(days=31)) == [old]
        assert listed(first_opened=TODAY) == [young]
        assert [one.break_id for one in store.list_breaks(connection, store.BreakFilter(), 2, late)] == [
            young,
            done,
        ]


def test_texts_are_neither_empty_nor_endless(engine: Engine, owner: psycopg.Connection[Any]) -> None:
    number = found(owner)

    for text in ("  ", "x" * 2_001):
        with pytest.raises(ValueError, match="text: 1 to 2,000"), at_desk(engine, MEI) as desk:
            desk.comment(number, text)
    with pytest.raises(BreakUnknown, match="no break 999"), at_desk(engine, MEI) as desk:
        desk.comment(999, "hm")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE settlement.break_events SET text = ''",
        "DELETE FROM settlement.break_evidence",
        "UPDATE settlement.resolutions SET proposed_by = 'Somebody'",
        "UPDATE settlement.disputes SET claim = 'another'",
        "UPDATE settlement.breaks SET points_at_stake = 0",
    ],
)
def test_settlements_role_cannot_rewrite_what_happened(engine: Engine, statement: str) -> None:
    with engine.connect() as connection, pytest.raises(ProgrammingError, match="permission denied"):
        connection.exec_driver_sql(statement)


def test_two_open_proposals_for_one_break_are_impossible(
    engine: Engine, owner: psycopg.Connection[Any]
) -> None:
    number = found(owner)
    with at_desk(engine, MEI) as desk:
        first = desk.propose(number, Resolution.NO_ACTION, "nothing to do")

    with (
        pytest.raises(IntegrityError, match="resolutions_proposed"),
        engine.begin() as connection,
    ):
        store.save_resolution(connection, replace(first, number=2))
