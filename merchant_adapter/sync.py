"""The same client for code without an event loop: the asynchronous one, run on a thread of its own."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, Self, TypeVar

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from merchant_adapter.answers import Burned, ConsentSet, Earned, Enrolled, EntryPage, Ledger, Linked, Wallet
from merchant_adapter.channel import DEFAULT_TIMEOUT_SECONDS, Answer, AnswerBytes
from merchant_adapter.client import Hub
from merchant_adapter.commands import (
    BurnCommand,
    EarnCommand,
    EnrollMember,
    LinkAlias,
    PointsCommand,
    SetConsent,
)
from merchant_adapter.errors import Refusal
from merchant_adapter.keys import FilePath, HubKeys, Key
from merchant_adapter.prepared import Prepared
from merchant_adapter.results import Results
from merchant_adapter.transport import Tls

T = TypeVar("T", bound=Message)
R = TypeVar("R")


class SyncHub:
    """A hub, seen by the owner of one key; each method does what `Hub`'s of the same name does, and blocks.

    Use it with `with`; threads may share it. A call that is interrupted (Ctrl-C) is cancelled and its
    outcome is unknown.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, thread: threading.Thread, hub: Hub) -> None:
        self._loop = loop
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

        loop = asyncio.new_event_loop()
        # A daemon, so that a program that forgets to close does not hang at its end.
        thread = threading.Thread(target=loop.run_forever, name="tongdui-hub", daemon=True)
        thread.start()
        try:
            hub = asyncio.run_coroutine_threadsafe(open_hub(), loop).result()
        except BaseException:
            _stop(loop, thread)
            raise
        return cls(loop, thread, hub)

    def earn(self, command: EarnCommand, *, timeout_seconds: float | None = None) -> Earned:
        """Gives a member points."""
        return self._run(self._hub.earn(command, timeout_seconds=timeout_seconds))

    def burn(self, command: BurnCommand, *, timeout_seconds: float | None = None) -> Burned:
        """Spends a member's points."""
        return self._run(self._hub.burn(command, timeout_seconds=timeout_seconds))

    def post_batch(
        self, commands: Sequence[PointsCommand], *, timeout_seconds: float | None = None
    ) -> Results[Earned | Burned | Refusal]:
        """Posts 1 to 1,000 independent commands under one signature; a refused one is a value."""
        return self._run(self._hub.post_batch(commands, timeout_seconds=timeout_seconds))

    def enroll(self, member: EnrollMember, *, timeout_seconds: float | None = None) -> Enrolled:
        """Creates a member under the caller's customer id, or names the one it is linked to already."""
        return self._run(self._hub.enroll(member, timeout_seconds=timeout_seconds))

    def enroll_batch(
        self, members: Sequence[EnrollMember], *, timeout_seconds: float | None = None
    ) -> Results[Enrolled | Refusal]:
        """Enrols 1 to 1,000 members in one transaction; a refused one is a value."""
        return self._run(self._hub.enroll_batch(members, timeout_seconds=timeout_seconds))

    def link(self, alias: LinkAlias, *, timeout_seconds: float | None = None) -> Linked:
        """Links the caller's customer id to a member that exists."""
        return self._run(self._hub.link(alias, timeout_seconds=timeout_seconds))

    def link_batch(
        self, aliases: Sequence[LinkAlias], *, timeout_seconds: float | None = None
    ) -> Results[Linked | Refusal]:
        """Links 1 to 1,000 customer ids in one transaction; a refused one is a value."""
        return self._run(self._hub.link_batch(aliases, timeout_seconds=timeout_seconds))

    def set_consent(self, change: SetConsent, *, timeout_seconds: float | None = None) -> ConsentSet:
        """Sets or withdraws a member's consent to burns at a partner."""
        return self._run(self._hub.set_consent(change, timeout_seconds=timeout_seconds))

    def wallet(self, member_id: str, *, timeout_seconds: float | None = None) -> Wallet:
        """Reads the account of a member linked to the caller."""
        return self._run(self._hub.wallet(member_id, timeout_seconds=timeout_seconds))

    def entries(
        self,
        *,
        member_id: str = "",
        page_size: int = 100,
        page_token: str = "",
        timeout_seconds: float | None = None,
    ) -> EntryPage:
        """A page (1 to 1,000) of the entries the caller posted, newest first; of one member where named."""
        return self._run(
            self._hub.entries(
                member_id=member_id,
                page_size=page_size,
                page_token=page_token,
                timeout_seconds=timeout_seconds,
            )
        )

    def ledger(self, *, timeout_seconds: float | None = None) -> Ledger:
        """Reads the ledger's constants."""
        return self._run(self._hub.ledger(timeout_seconds=timeout_seconds))

    def send(self, prepared: Prepared, *, timeout_seconds: float | None = None) -> AnswerBytes:
        """Sends the same bytes as on every other try, signed afresh. `read_results` reads the answer."""
        return self._run(self._hub.send(prepared, timeout_seconds=timeout_seconds))

    def call(
        self,
        method: str | MethodDescriptor,
        request: Message | bytes,
        answer_type: type[T],
        *,
        timeout_seconds: float | None = None,
    ) -> Answer[T]:
        """Calls any unary method of any Tongdui service; see `SignedChannel.call`."""
        return self._run(self._hub.call(method, request, answer_type, timeout_seconds=timeout_seconds))

    def close(self) -> None:
        """Closes the connection; the outcome of calls still under way is unknown. May be called again."""
        if self._thread.is_alive():
            self._run(self._hub.close())
            _stop(self._loop, self._thread)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        if not self._thread.is_alive():
            coroutine.close()
            raise RuntimeError("this SyncHub is closed")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
