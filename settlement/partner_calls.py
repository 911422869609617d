"""What partners decide over the wire: each signed request once, with its deed and its answer in one transaction."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, insert, select, text
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from settlement.core.break_state import ALLOWED, BreakActRefused, DisputeState
from settlement.core.business_day import business_day
from settlement.core.certificate import canonical_json
from settlement.core.deed import text_content
from settlement.core.mapping import ProfileInvalid
from settlement.core.partner_file import FileFormat
from settlement.core.roles import Act
from settlement.desk import Desk, Evidence
from settlement.partner_files import Declared, load_file
from settlement.people import Actor
from settlement.store.desk import Break, Dispute, has_partner, ledger_moment, load_break, load_dispute
from settlement.store.feed import read_ledger
from settlement.store.partner_reads import PartnerFile, read_file
from settlement.store.partner_request_tables import partner_requests
from settlement.store.reads import DatabaseUnavailable

__all__ = [
    "Asked",
    "Break",
    "Decision",
    "Dispute",
    "Evidence",
    "FileUpload",
    "NotYours",
    "OtherUnknown",
    "PartnerCalls",
    "ProfileInvalid",
    "RequestIdReused",
    "Said",
    "SignedCall",
    "StateRefused",
]

_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:owner || '/' || :request_id, 4))")

Entries = tuple[tuple[str, str], ...]


class NotYours(Exception):
    """There is no such break, dispute or partner, or it is not the caller's to act on."""


class StateRefused(Exception):
    """The state of a break or dispute does not allow this. `state` is its name, or `DISPUTED` of a break."""

    def __init__(self, state: str) -> None:
        super().__init__(state)
        self.state = state


class OtherUnknown(Exception):
    """The coalition has no such partner."""


class RequestIdReused(Exception):
    """The caller has used this request id before, for something else."""


@dataclass(frozen=True, slots=True)
class SignedCall:
    """A partner's request as admission proved it.

    Attributes:
        owner: the partner.
        body: the message's bytes, which the signature is over; of an upload, its header's.
        metadata: the four entries of the signature.
        signature: the 64 bytes among them.
        public_key_text: base64url.
    """

    key_id: str
    owner: str
    public_key_text: str
    path: str
    body: bytes
    metadata: Entries
    signature: bytes

    def sign(self, message: bytes) -> bytes:  # noqa: ARG002 - as a key does
        """The signature of the call, whatever it is asked to sign: the partner signed the call and not the deed."""
        return self.signature


@dataclass(frozen=True, slots=True)
class CallActor(Actor):
    """A partner that acts by a signed call: the deed's text has the call, and the call's signature is the deed's."""

    def _kept_text(self, text: bytes) -> bytes:
        call = self.signer
        assert isinstance(call, SignedCall), "made by `acting`"
        said = text_content(text)
        assert said is not None, "made by `do`"
        return canonical_json(said | {"call": {"path": call.path, "metadata": dict(call.metadata)}})


def acting(call: SignedCall) -> Actor:
    """The partner that made a call."""
    return CallActor(call)


@dataclass(frozen=True, slots=True)
class FileUpload:
    """What a file is by the signed word of the partner that sends it.

    Attributes:
        format: CSV, JSONL or MAPPED.
        sha256: 32 bytes.
        control: the control record, a JSON object, of a mapped file; else empty.
    """

    request_id: str
    business_date: date
    format: str
    byte_count: int
    sha256: bytes
    control: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it is known again: its id, and the 32 bytes that tell it from another one of this id."""

    request_id: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Said:
    """A text, and a file that shows it."""

    text: str
    evidence: Evidence | None


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer's bytes, and whether they were given to this request before."""

    answer: bytes
    is_repeat: bool


class PartnerCalls:
    """Decides what partners ask for. Safe to share between threads. Every method may raise DatabaseUnavailable."""

    def __init__(self, engine: Engine) -> None:
        """`engine` as `open_engine` makes it."""
        self._engine = engine

    def load_file(
        self,
        call: SignedCall,
        asked: Asked,
        upload: FileUpload,
        pieces: Iterable[bytes],
        answer: Callable[[PartnerFile], bytes],
    ) -> Decision:
        """Takes the partner's file of a day in, all of it or nothing.

        Raises FileRefused, ProfileInvalid, RequestIdReused, RoleMissing, PersonUnknown.
        """

        def work(desk: Desk) -> bytes:
            declared = Declared(
                partner_id=call.owner,
                business_date=upload.business_date,
                format=FileFormat(upload.format),
                sha256=upload.sha256.hex(),
                control=upload.control,
                byte_limit=upload.byte_count,
            )
            ledger = read_ledger(desk.connection)
            loaded = load_file(desk.connection, ledger, desk.actor, declared, pieces, _evidence(call))
            return answer(read_file(desk.connection, loaded.file.file_id))

        return self.decide(call, asked, work)

    def comment(
        self, call: SignedCall, asked: Asked, break_id: int, said: Said, answer: Callable[[Break], bytes]
    ) -> Decision:
        """Comments on one of the partner's breaks. Raises NotYours, RequestIdReused."""

        def work(desk: Desk) -> bytes:
            _own_break(desk.connection, break_id, call.owner)
            return answer(desk.comment(break_id, said.text, said.evidence))

        return self.decide(call, asked, work)

    def open_dispute(
        self,
        call: SignedCall,
        asked: Asked,
        break_id: int,
        against: str,
        said: Said,
        answer: Callable[[Dispute], bytes],
    ) -> Decision:
        """Opens a dispute about one of the partner's breaks.

        Raises NotYours, OtherUnknown, StateRefused, RequestIdReused.
        """

        def work(desk: Desk) -> bytes:
            found = _own_break(desk.connection, break_id, call.owner)
            if not has_partner(desk.connection, against):
                raise OtherUnknown(against)
            try:
                return answer(desk.open_dispute(break_id, against, said.text, evidence=said.evidence))
            except BreakActRefused as refused:
                is_free = found.state in ALLOWED[Act.OPEN_DISPUTE]
                raise StateRefused("DISPUTED" if is_free else found.state.value) from refused

        return self.decide(call, asked, work)

    def answer_dispute(
        self, call: SignedCall, asked: Asked, dispute_id: int, said: Said, answer: Callable[[Dispute], bytes]
    ) -> Decision:
        """Answers a dispute against the partner. Raises NotYours, StateRefused, RequestIdReused."""

        def work(desk: Desk) -> bytes:
            found = load_dispute(desk.connection, dispute_id)
            if found is None or found.against != call.owner:
                raise NotYours(f"dispute {dispute_id}")
            try:
                return answer(desk.answer_dispute(dispute_id, said.text, said.evidence))
            except BreakActRefused as refused:
                is_late = found.state == DisputeState.OPEN.value and desk.now > found.deadline
                raise StateRefused(DisputeState.EXPIRED.value if is_late else found.state) from refused

        return self.decide(call, asked, work)

    def decide(
        self,
        call: SignedCall,
        asked: Asked,
        work: Callable[[Desk], bytes],
    ) -> Decision:
        """Does `work` and keeps its answer, or gives the answer that this request got before.

        What `work` raises leaves nothing behind. Raises RequestIdReused.
        """
        with self._transaction() as connection:
            key = {"owner": call.owner, "request_id": asked.request_id}
            connection.execute(_LOCK, key)  # two tries of one request at once are one after the other
            kept = _kept(connection, call.owner, asked.request_id)
            if kept is not None:
                if (kept.path, bytes(kept.fingerprint)) != (call.path, asked.fingerprint):
                    raise RequestIdReused(asked.request_id)
                return Decision(bytes(kept.answer), is_repeat=True)
            answer = work(_desk(connection, acting(call)))
            connection.execute(
                insert(partner_requests).values(
                    **key,
                    path=call.path,
                    fingerprint=asked.fingerprint,
                    request=call.body,
                    request_metadata=[list(entry) for entry in call.metadata],
                    answer=answer,
                )
            )
        return Decision(answer, is_repeat=False)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except (OperationalError, InterfaceError, PoolTimeout) as trouble:
            raise DatabaseUnavailable(str(trouble).partition("\n")[0]) from trouble


def _kept(connection: Connection, owner: str, request_id: str) -> Any:
    columns = partner_requests.c
    statement = select(columns.path, columns.fingerprint, columns.answer)
    return connection.execute(
        statement.where(columns.owner == owner, columns.request_id == request_id)
    ).one_or_none()


def _evidence(call: SignedCall) -> dict[str, Any]:
    """The signed header of an upload, which names the bytes that came after it."""
    request = base64.b64encode(call.body).decode("ascii")
    return {"path": call.path, "request": request, "metadata": dict(call.metadata)}


def _desk(connection: Connection, actor: Actor) -> Desk:
    ledger = read_ledger(connection)
    now = ledger_moment(connection, actor.now())
    today = business_day(now, ledger.cut_off_seconds, ZoneInfo(ledger.time_zone))
    return Desk(connection, actor, now, today)


def _own_break(connection: Connection, break_id: int, partner_id: str) -> Break:
    found = load_break(connection, break_id, lock=True)
    if found is None or found.partner_id != partner_id:
        raise NotYours(f"break {break_id}")
    return found
