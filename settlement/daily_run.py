"""The steps of a day: close, net, certify, approve. Each commits by itself and can be repeated at any time.

Repeating a finished step computes it again and compares: the same figures, the same bytes, or an error that
names the first difference. A run that was killed goes on with the first step that did not commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final, Protocol

from sqlalchemy import Connection

from settlement.core.amounts import micros_per_minor
from settlement.core.business_day import days
from settlement.core.certificate import (
    DocumentMalformed,
    canonical_json,
    certificate_content,
    document_bytes,
    signed_text,
    split_document,
)
from settlement.core.chain import FIRST_HASH
from settlement.core.checks import Case, Check, Previous, failed, fault_text, run_checks
from settlement.core.journal_audit import JournalAudit, JournalDiffers, audit_result
from settlement.core.roles import Act
from settlement.core.run_state import StepOutOfOrder, WindowState
from settlement.core.window import (
    NOTHING_YET,
    ClosedWindow,
    Computed,
    HubReceipt,
    Ledger,
    ReceiptInvalid,
    WindowSums,
    compute,
)
from settlement.people import Actor, refuse_same_person
from settlement.store import feed, journal, load, save
from settlement.store.journal_audit_tables import (
    load_journal_audit,
    load_unaudited_days,
    save_journal_audit,
)
from settlement.store.load import Approval, StoredCertificate, StoredWindow
from settlement.store.reconciliation_reads import read_records
from settlement.store.window_locks import lock_window


class Hub(Protocol):
    """What a run asks of the hub."""

    def close_window(self, window_date: date) -> HubReceipt:
        """Fixes a window's watermark; the same answer however often it is asked."""


WINDOW: Final = "window"
"""What the audit log calls the item of every step."""

Verify = Callable[[HubReceipt], ClosedWindow]
"""Gives the watermark a receipt proves; raises ReceiptInvalid."""


class Signer(Protocol):
    """Settlement's own key."""

    @property
    def key_id(self) -> str:
        """Its id."""

    @property
    def public_key_text(self) -> str:
        """Its public half, base64url without padding."""

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of Ed25519 over the message."""


class ChecksFailed(Exception):
    """At least one check of a certificate does not hold. Nothing was signed."""

    def __init__(self, window_date: date, checks: tuple[Check, ...]) -> None:
        names = ", ".join(map(fault_text, failed(checks)))
        super().__init__(f"{window_date}: not certified, a check does not hold: {names}")
        self.window_date = window_date
        self.checks = checks


class ResultDiffers(Exception):
    """A finished step, computed again, gives something else than what is stored."""


@dataclass(frozen=True, slots=True)
class DailyRun:
    """The steps of every day of one ledger.

    Attributes:
        connection: as `exclusive_run` gives it, with no transaction open.
        actor: in whose name the steps are done; settlement's own where nobody's is given.
    """

    connection: Connection
    ledger: Ledger
    actor: Actor = field(default_factory=lambda: Actor(None, unattended=True))

    def days_through(self, last: date, first: date | None = None) -> list[date]:
        """The days a run through `last` has to deal with: those after the newest certified one.

        Before anything is certified they begin with `first`, or the first day settlement or the hub knows.
        """
        with self.connection.begin():
            certified = load.load_last_certified_date(self.connection)
            begin = certified + timedelta(days=1) if certified else first or self._first_known_day() or last
        return list(days(begin, last))

    def _first_known_day(self) -> date | None:
        closed = feed.read_first_window_date(self.connection)
        posted = feed.read_first_posted_date(self.connection)
        return min((day for day in (closed, posted) if day), default=None)

    def close(self, window_date: date, hub: Hub, verify: Verify) -> ClosedWindow:
        """Has the hub fix the window's watermark and keeps its signed receipt.

        Raises StepOutOfOrder where the window before is not closed, RoleMissing, PersonUnknown, ReceiptInvalid, and
        what the hub raises.
        """
        with self.connection.begin():
            stored = load.load_window(self.connection, window_date)
            if stored:
                return stored.window
            self._refuse_gap(window_date)
            # Before the hub is asked: what it closes stays closed.
            self.actor.check(self.connection, Act.CLOSE)
        receipt = hub.close_window(window_date)
        window = verify(receipt)
        if window.window_date != window_date:
            raise ReceiptInvalid(f"the hub's receipt is for {window.window_date}, not {window_date}")
        with self.connection.begin():
            save.save_closed(self.connection, window, receipt)
            self._record(Act.CLOSE, window_date, None, WindowState.CLOSED)
        return window

    def _refuse_gap(self, window_date: date) -> None:
        last = load.load_last_window(self.connection)
        first = last.window.window_date + timedelta(days=1) if last else None
        expected = first or feed.read_first_window_date(self.connection)
        if expected is not None and window_date != expected:
            raise StepOutOfOrder(f"{window_date}: windows close in order, the next one is {expected}")

    def net(self, window_date: date) -> Computed:
        """Adds up what the window posted, and rounds and keeps its statement lines.

        Raises StepOutOfOrder, or ResultDiffers where a computed window now comes out otherwise.
        """
        with self.connection.begin():
            stored = load.load_window_at_least(self.connection, window_date, WindowState.CLOSED, "close")
            before = self._computed_before(window_date)
            sums = feed.read_sums(self.connection, window_date)
            contracts = load.load_contracts(self.connection, window_date)
            computed = compute(before, sums, micros_per_minor(self.ledger.minor_unit_digits), contracts)
            if stored.state is WindowState.CLOSED:
                save.save_computed(self.connection, window_date, stored.run_number, sums, computed)
                self._record(Act.NET, window_date, stored, WindowState.COMPUTED)
            else:
                self._compare(window_date, sums, computed)
        return computed

    def _compare(self, window_date: date, sums: WindowSums, computed: Computed) -> None:
        kept_sums = load.load_sums(self.connection, window_date)
        kept = load.load_computed(self.connection, window_date)
        for what, old, new in (
            ("money lines", kept_sums.flows, sums.flows),
            ("points legs", kept_sums.legs, sums.legs),
            ("entries", kept_sums.entries, sums.entries),
            ("statement line", kept.lines, computed.lines),
            ("issuer's points", kept.issuers, computed.issuers),
        ):
            changed = sorted(set(old) ^ set(new), key=repr)
            if changed:
                raise ResultDiffers(f"{window_date}: computed again, the {what} differ: {changed[0]}")

    def certify(
        self, window_date: date, signer: Signer, verify: Verify
    ) -> tuple[StoredCertificate, tuple[Check, ...]]:
        """Runs every check and, if all hold, signs the certificate.

        Raises StepOutOfOrder, ChecksFailed, or ResultDiffers where a certified window now says otherwise.
        """
        with self.connection.begin():
            # Files, reconciliations, waivers and profiles come in beside a run; none may after this has read them.
            lock_window(self.connection, window_date)
            stored = load.load_window_at_least(self.connection, window_date, WindowState.COMPUTED, "net")
            receipt = load.load_receipt(self.connection, window_date)
            fault = _receipt_fault(stored.window, receipt, verify)
            case = self._case(stored.window, fault)
            checks = run_checks(case)
            if failed(checks):
                raise ChecksFailed(window_date, checks)
            content = canonical_json(certificate_content(case, checks, receipt))
            kept = load.load_certificate(self.connection, window_date)
            if kept is None:
                document = _signed_document(content, signer)
                person = self.actor.check(self.connection, Act.CERTIFY).name
                save.save_certificate(
                    self.connection, window_date, stored.run_number, document, signer.key_id, person
                )
                self._record(Act.CERTIFY, window_date, stored, WindowState.CERTIFIED)
                kept = load.load_certificate(self.connection, window_date)
                assert kept is not None, "saved one statement before"
            elif not _says(kept, content, signer):
                raise ResultDiffers(f"{window_date}: certified again, the certificate comes out otherwise")
        return kept, checks

    def audit_journal(self, window_date: date, seen: Callable[[int], None]) -> JournalAudit:
        """Hashes every row of a computed window again and keeps what came out, also where something is wrong.

        `seen` is told of entries as they are hashed. Raises StepOutOfOrder, RoleMissing, PersonUnknown.
        """
        with self.connection.begin():
            stored = load.load_window_at_least(self.connection, window_date, WindowState.COMPUTED, "net")
            self.actor.check(self.connection, Act.AUDIT_JOURNAL)
            before = load.load_window_before(self.connection, window_date)
            hash_before = before.window.last_hash if before else FIRST_HASH
            hashed = journal.read_journal(self.connection, stored.window, hash_before, seen)
            sums = load.load_sums(self.connection, window_date)
            audit = audit_result(stored.window, stored.run_number, hashed, sums)
            save_journal_audit(self.connection, audit)
            found = {"run_number": audit.run_number, "holds": audit.holds, "fault": audit.fault}
            self.actor.do(self.connection, Act.AUDIT_JOURNAL, WINDOW, str(window_date), after=found)
        return audit

    def entry_count(self, window_date: date) -> int:
        """Entries of a computed window. Raises StepOutOfOrder."""
        with self.connection.begin():
            stored = load.load_window_at_least(self.connection, window_date, WindowState.COMPUTED, "net")
            return stored.window.entry_count

    def days_to_audit(self, last: date) -> list[date]:
        """The computed days up to `last` whose present run has no journal audit that holds."""
        with self.connection.begin():
            return load_unaudited_days(self.connection, last)

    def approve(self, window_date: date) -> Approval:
        """Keeps that a second person approves the certificate; the same approval however often.

        Raises StepOutOfOrder, SamePerson where the one who certified asks, RoleMissing, PersonUnknown.
        """
        connection = self.connection
        with connection.begin():
            stored = load.load_window_at_least(self.connection, window_date, WindowState.CERTIFIED, "certify")
            kept = load.load_approval(connection, window_date)
            if kept is not None:
                return kept
            before = load.load_window_before(connection, window_date)
            if before and not before.state.reached(WindowState.APPROVED):
                raise StepOutOfOrder(
                    f"{window_date}: windows are approved in order, {before.window.window_date} comes first"
                )
            self._refuse_unaudited(stored)
            person = self.actor.check(connection, Act.APPROVE)
            certified_by = load.load_certified_by(connection, window_date)
            refuse_same_person(certified_by, person.name, f"{window_date}: certify and approve")
            certificate = load.load_certificate(connection, window_date)
            assert certificate is not None, "a certified window has one"
            approval = Approval(
                window_date=window_date,
                run_number=stored.run_number,
                certified_by=certified_by,
                approved_by=person.name,
                key_id=person.key_id,
                certificate_sha256=certificate.document_sha256,
            )
            save.save_approval(connection, approval)
            after = {"state": WindowState.APPROVED.value, "certificate_sha256": approval.certificate_sha256}
            self.actor.do(connection, Act.APPROVE, WINDOW, str(window_date), "", _state(stored), after)
        return approval

    def _refuse_unaudited(self, stored: StoredWindow) -> None:
        window_date = stored.window.window_date
        audit = load_journal_audit(self.connection, window_date, stored.run_number)
        if audit is None:
            raise StepOutOfOrder(
                f"{window_date}: its journal was not hashed again; run `audit-journal --date {window_date}` first"
            )
        if not audit.holds:
            raise JournalDiffers(f"{window_date}: not approved, {audit.fault}")

    def abort(self, window_date: date, reason: str) -> int:
        """Gives up the present run of a computed or certified window and tells the number of the next one.

        What was computed stays under the aborted run. Raises StepOutOfOrder where the window is approved or
        another one is computed on top of it, ValueError without a reason, RoleMissing, PersonUnknown.
        """
        if not reason.strip():
            raise ValueError("reason: an aborted run needs one")
        connection = self.connection
        with connection.begin():
            stored = load.load_window_at_least(self.connection, window_date, WindowState.COMPUTED, "net")
            if stored.state.reached(WindowState.APPROVED):
                raise StepOutOfOrder(f"{window_date}: the window is {stored.state.value}, its run stands")
            newest = load.load_last_computed_date(connection)
            if newest != window_date:
                raise StepOutOfOrder(
                    f"{window_date}: {newest} is computed on top of it; abort that one first"
                )
            person = self.actor.check(connection, Act.ABORT)
            save.save_aborted(connection, window_date, stored.run_number, person.name, reason)
            after = {"state": WindowState.CLOSED.value, "run_number": stored.run_number + 1}
            self.actor.do(connection, Act.ABORT, WINDOW, str(window_date), reason, _state(stored), after)
        return stored.run_number + 1

    def _record(self, act: Act, window_date: date, stored: StoredWindow | None, reached: WindowState) -> None:
        """What a step did to its window, as the audit log tells it."""
        run_number = stored.run_number if stored else 1
        before = _state(stored) if stored else None
        after = {"state": reached.value, "run_number": run_number}
        self.actor.do(self.connection, act, WINDOW, str(window_date), "", before, after)

    def _case(self, window: ClosedWindow, receipt_fault: str) -> Case:
        connection, window_date = self.connection, window.window_date
        previous = self._previous(window_date)
        return Case(
            ledger=self.ledger,
            window=window,
            seen_window=feed.read_window(connection, window_date),
            receipt_fault=receipt_fault,
            previous=previous,
            hub_windows_before=feed.count_windows_before(connection, window_date),
            certified_before=load.count_certified_before(connection, window_date),
            sums=load.load_sums(connection, window_date),
            before=self._computed_before(window_date),
            stored=load.load_computed(connection, window_date),
            contracts=load.load_contracts(connection, window_date),
            records=read_records(connection, window_date),
        )

    def _previous(self, window_date: date) -> Previous | None:
        before = load.load_window_before(self.connection, window_date)
        if before is None:
            return None
        certificate = load.load_certificate(self.connection, before.window.window_date)
        return Previous(before.window, certificate.document_sha256 if certificate else "")

    def _computed_before(self, window_date: date) -> Computed:
        before = load.load_window_before(self.connection, window_date)
        if before is None:
            return NOTHING_YET
        if not before.state.reached(WindowState.COMPUTED):
            raise StepOutOfOrder(
                f"{window_date}: windows are computed in order, {before.window.window_date} comes first"
            )
        return load.load_computed(self.connection, before.window.window_date)


def _state(stored: StoredWindow) -> dict[str, object]:
    return {"state": stored.state.value, "run_number": stored.run_number}


def _receipt_fault(window: ClosedWindow, receipt: HubReceipt, verify: Verify) -> str:
    try:
        proven = verify(receipt)
    except ReceiptInvalid as fault:
        return str(fault)
    return "" if proven == window else "the receipt is for another watermark"


def _signed_document(content: bytes, signer: Signer) -> bytes:
    return document_bytes(content, signer.key_id, signer.public_key_text, signer.sign(signed_text(content)))


def _says(kept: StoredCertificate, content: bytes, signer: Signer) -> bool:
    """Whether a kept certificate is what would be signed now, byte for byte if by the same key."""
    if kept.key_id == signer.key_id:
        return kept.document == _signed_document(content, signer)
    try:
        return split_document(kept.document)[0] == content
    except DocumentMalformed:
        return False
