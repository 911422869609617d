"""The steps of a day: close, net, certify. Each commits by itself and can be repeated at any time.

Repeating a finished step computes it again and compares: the same figures, the same bytes, or an error that
names the first difference. A run that was killed goes on with the first step that did not commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

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
from settlement.store import feed, journal, load, save
from settlement.store.load import StoredCertificate, StoredWindow


class Hub(Protocol):
    """What a run asks of the hub."""

    def close_window(self, window_date: date) -> HubReceipt:
        """Fixes a window's watermark; the same answer however often it is asked."""


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
    """

    connection: Connection
    ledger: Ledger

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

        Raises StepOutOfOrder where the window before is not closed, ReceiptInvalid, and what the hub raises.
        """
        with self.connection.begin():
            stored = load.load_window(self.connection, window_date)
            if stored:
                return stored.window
            self._refuse_gap(window_date)
        receipt = hub.close_window(window_date)
        window = verify(receipt)
        if window.window_date != window_date:
            raise ReceiptInvalid(f"the hub's receipt is for {window.window_date}, not {window_date}")
        with self.connection.begin():
            save.save_closed(self.connection, window, receipt)
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
            stored = self._held(window_date, WindowState.CLOSED, "close")
            before = self._computed_before(window_date)
            sums = feed.read_sums(self.connection, window_date)
            computed = compute(before, sums, micros_per_minor(self.ledger.minor_unit_digits))
            if stored.state is WindowState.CLOSED:
                save.save_computed(self.connection, window_date, sums, computed)
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
            stored = self._held(window_date, WindowState.COMPUTED, "net")
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
                save.save_certificate(self.connection, window_date, document, signer.key_id)
                kept = load.load_certificate(self.connection, window_date)
                assert kept is not None, "saved one statement before"
            elif not _says(kept, content, signer):
                raise ResultDiffers(f"{window_date}: certified again, the certificate comes out otherwise")
        return kept, checks

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
            journal=journal.read_journal(
                connection, window, previous.window.last_hash if previous else FIRST_HASH
            ),
            sums=load.load_sums(connection, window_date),
            before=self._computed_before(window_date),
            stored=load.load_computed(connection, window_date),
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

    def _held(self, window_date: date, least: WindowState, step: str) -> StoredWindow:
        stored = load.load_window(self.connection, window_date)
        if stored is None or not stored.state.reached(least):
            state = stored.state.value if stored else "not closed"
            raise StepOutOfOrder(
                f"{window_date}: the window is {state}; run `{step} --date {window_date}` first"
            )
        return stored


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
