"""The same client for code without an event loop: the asynchronous one, run on a thread of its own."""

from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, Self, TypeVar

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from merchant_adapter.answers import (
    ConsentSet,
    Enrolled,
    EntryPage,
    Ledger,
    Linked,
    PayCode,
    ProofStarted,
    Unlinked,
    Wallet,
)
from merchant_adapter.channel import DEFAULT_TIMEOUT_SECONDS, Answer, AnswerBytes
from merchant_adapter.client import Hub
from merchant_adapter.commands import (
    EnrollMember,
    IssuePayCode,
    LinkAlias,
    SetConsent,
    StartContactProof,
    UnlinkAlias,
)
from merchant_adapter.errors import Refusal
from merchant_adapter.keys import FilePath, HubKeys, Key
from merchant_adapter.loop_thread import LoopThread
from merchant_adapter.points_sync import SyncPointsCalls
from merchant_adapter.prepared import Prepared
from merchant_adapter.results import Results
from merchant_adapter.transport import Tls
from merchant_adapter.watching import Cursor, WatchedEntries

T = TypeVar("T", bound=Message)
R = TypeVar("R")


class SyncHub(SyncPointsCalls):
    """A hub, seen by the owner of one key; each method does what `Hub`'s of the same name does, and blocks.

    Use it with `with`; threads may share it. A call that is interrupted (Ctrl-C) is cancelled and its
    outcome is unknown.
    """

    def __init__(self, thread: LoopThread, hub: Hub) -> None:
        self._thread = thread
        self._hub = hub

    @classmethod
    def connect(
        cls,
        address: str,
        audience: str,
        *,
        key: Key | FilePath,
        hub_keys: HubKeys | FilePath,
        tls: Tls | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> Self:
        """The hub called `audience` at `address`; see `SignedChannel.open`. Connects when first used."""

        async def open_hub() -> Hub:
            return Hub.connect(
                address, audience, key=key, hub_keys=hub_keys, tls=tls, timeout_seconds=timeout_seconds
            )

        thread = LoopThread("tongdui-hub")
        try:
            return cls(thread, thread.run(open_hub()))
        except BaseException:
            thread.stop()
            raise

    def enroll(self, member: EnrollMember, *, deadline_seconds: float | None = None) -> Enrolled:
        """Creates a member under the caller's customer id, or names the one it is linked to already."""
        return self._run(self._hub.enroll(member, deadline_seconds=deadline_seconds))

    def enroll_batch(
        self, members: Sequence[EnrollMember], *, deadline_seconds: float | None = None
    ) -> Results[Enrolled | Refusal]:
        """Enrols 1 to 1,000 members in one transaction; a refused one is a value."""
        return self._run(self._hub.enroll_batch(members, deadline_seconds=deadline_seconds))

    def link(self, alias: LinkAlias, *, deadline_seconds: float | None = None) -> Linked:
        """Links the caller's customer id to a member that exists."""
        return self._run(self._hub.link(alias, deadline_seconds=deadline_seconds))

    def link_batch(
        self, aliases: Sequence[LinkAlias], *, deadline_seconds: float | None = None
    ) -> Results[Linked | Refusal]:
        """Links 1 to 1,000 customer ids in one transaction; a refused one is a value."""
        return self._run(self._hub.link_batch(aliases, deadline_seconds=deadline_seconds))

    def start_contact_proof(
        self, start: StartContactProof, *, deadline_seconds: float | None = None
    ) -> ProofStarted:
        """Has a one-time code sent to a customer; enrolling or linking with it proves the contact."""
        return self._run(self._hub.start_contact_proof(start, deadline_seconds=deadline_seconds))

    def unlink(self, alias: UnlinkAlias, *, deadline_seconds: float | None = None) -> Unlinked:
        """Undoes the link of a member to the caller."""
        return self._run(self._hub.unlink(alias, deadline_seconds=deadline_seconds))

    def issue_pay_code(self, wanted: IssuePayCode, *, deadline_seconds: float | None = None) -> PayCode:
        """A pay code for a member who is linked to the caller, to be shown at a till within 60 seconds."""
        return self._run(self._hub.issue_pay_code(wanted, deadline_seconds=deadline_seconds))

    def set_consent(self, change: SetConsent, *, deadline_seconds: float | None = None) -> ConsentSet:
        """Sets or withdraws a member's consent to burns at a partner."""
        return self._run(self._hub.set_consent(change, deadline_seconds=deadline_seconds))

    def wallet(self, member_id: str, *, deadline_seconds: float | None = None) -> Wallet:
        """Reads the account of a member linked to the caller."""
        return self._run(self._hub.wallet(member_id, deadline_seconds=deadline_seconds))

    def entries(
        self,
        *,
        member_id: str = "",
        page_size: int = 100,
        page_token: str = "",
        deadline_seconds: float | None = None,
    ) -> EntryPage:
        """A page (1 to 1,000) of the entries the caller posted, newest first; of one member where named."""
        return self._run(
            self._hub.entries(
                member_id=member_id,
                page_size=page_size,
                page_token=page_token,
                deadline_seconds=deadline_seconds,
            )
        )

    def watch_entries(
        self, *, after: Cursor | None = None, give_up_seconds: float | None = None
    ) -> Iterator[WatchedEntries]:
        """The entries the caller posted after a place, oldest first; waits for the next ones without end."""
        pages = self._hub.watch_entries(after=after, give_up_seconds=give_up_seconds)

        async def following() -> WatchedEntries:
            return await anext(pages)

        try:
            while True:
                yield self._run(following())
        finally:
            if self._thread.is_running:
                self._run(pages.aclose())

    def ledger(self, *, deadline_seconds: float | None = None) -> Ledger:
        """Reads the ledger's constants."""
        return self._run(self._hub.ledger(deadline_seconds=deadline_seconds))

    def send(self, prepared: Prepared, *, deadline_seconds: float | None = None) -> AnswerBytes:
        """Sends the same bytes as on every other try, signed afresh. `read_results` reads the answer."""
        return self._run(self._hub.send(prepared, deadline_seconds=deadline_seconds))

    def call(
        self,
        method: str | MethodDescriptor,
        request: Message | bytes,
        answer_type: type[T],
        *,
        deadline_seconds: float | None = None,
    ) -> Answer[T]:
        """Calls any unary method of any Tongdui service; see `SignedChannel.call`."""
        return self._run(self._hub.call(method, request, answer_type, deadline_seconds=deadline_seconds))

    def close(self) -> None:
        """Closes the connection; the outcome of calls still under way is unknown. May be called again."""
        if self._thread.is_running:
            self._run(self._hub.close())
            self._thread.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        return self._thread.run(coroutine, "this SyncHub is closed")
