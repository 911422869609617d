"""The typed client of a hub: one method a command, values in and values out."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Self, TypeVar

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from merchant_adapter import methods
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
from merchant_adapter.channel import (
    DEFAULT_TIMEOUT_SECONDS,
    Answer,
    AnswerBytes,
    SignedChannel,
    parse_answer,
    prepare_call,
    readable,
)
from merchant_adapter.commands import (
    AnyCommand,
    EnrollMember,
    IssuePayCode,
    LinkAlias,
    SetConsent,
    StartContactProof,
    UnlinkAlias,
)
from merchant_adapter.errors import Refusal
from merchant_adapter.from_messages import (
    from_consent,
    from_enroll,
    from_entries,
    from_ledger,
    from_link,
    from_pay_code,
    from_proof,
    from_unlink,
    from_wallet,
)
from merchant_adapter.keys import FilePath, HubKeys, Key
from merchant_adapter.points_client import PointsCalls
from merchant_adapter.prepare import prepare, prepare_enrollments, prepare_links
from merchant_adapter.prepared import Prepared
from merchant_adapter.results import Reader, Results, read_enrollments, read_links, read_one
from merchant_adapter.to_messages import to_entries_request, to_wallet_request
from merchant_adapter.transport import Tls
from merchant_adapter.watching import Cursor, WatchedEntries, watch_entries
from tongdui.exchange.v1.journal_service_pb2 import GetLedgerRequest, GetLedgerResponse
from tongdui.exchange.v1.members_service_pb2 import (
    EnrollMemberResponse,
    IssuePayCodeResponse,
    LinkAliasResponse,
    SetConsentResponse,
    StartContactProofResponse,
    UnlinkAliasResponse,
)
from tongdui.exchange.v1.points_service_pb2 import GetWalletResponse, ListEntriesResponse

T = TypeVar("T", bound=Message)
A = TypeVar("A")


class Hub(PointsCalls):
    """A hub, seen by the owner of one key. Use it with `async with`; calls may run side by side.

    Every method raises HubError (see `merchant_adapter.errors`) where the answer is no acceptance. Each takes
    `deadline_seconds`: OutcomeUnknown is raised when they have passed without an answer, also where the call was
    still waiting for its turn. Without it the call waits for its turn, then for the connection's
    `timeout_seconds`. Nothing is retried here.
    """

    def __init__(self, channel: SignedChannel) -> None:
        self.channel = channel

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
        return cls(
            SignedChannel.open(
                address, audience, key=key, hub_keys=hub_keys, tls=tls, timeout_seconds=timeout_seconds
            )
        )

    async def enroll(self, member: EnrollMember, *, deadline_seconds: float | None = None) -> Enrolled:
        """Creates a member under the caller's customer id, or names the one it is linked to already."""
        return await self._write(member, EnrollMemberResponse, from_enroll, deadline_seconds)

    async def enroll_batch(
        self, members: Sequence[EnrollMember], *, deadline_seconds: float | None = None
    ) -> Results[Enrolled | Refusal]:
        """Enrols 1 to 1,000 members in one transaction; a refused one is a value."""
        prepared = prepare_enrollments(members)
        return read_enrollments(prepared, await self.send(prepared, deadline_seconds=deadline_seconds))

    async def link(self, alias: LinkAlias, *, deadline_seconds: float | None = None) -> Linked:
        """Links the caller's customer id to a member that exists."""
        return await self._write(alias, LinkAliasResponse, from_link, deadline_seconds)

    async def link_batch(
        self, aliases: Sequence[LinkAlias], *, deadline_seconds: float | None = None
    ) -> Results[Linked | Refusal]:
        """Links 1 to 1,000 customer ids in one transaction; a refused one is a value."""
        prepared = prepare_links(aliases)
        return read_links(prepared, await self.send(prepared, deadline_seconds=deadline_seconds))

    async def start_contact_proof(
        self, start: StartContactProof, *, deadline_seconds: float | None = None
    ) -> ProofStarted:
        """Has a one-time code sent to a customer; enrolling or linking with it proves the contact."""
        return await self._write(start, StartContactProofResponse, from_proof, deadline_seconds)

    async def unlink(self, alias: UnlinkAlias, *, deadline_seconds: float | None = None) -> Unlinked:
        """Undoes the link of a member to the caller."""
        return await self._write(alias, UnlinkAliasResponse, from_unlink, deadline_seconds)

    async def issue_pay_code(self, wanted: IssuePayCode, *, deadline_seconds: float | None = None) -> PayCode:
        """A pay code for a member who is linked to the caller, to be shown at a till within 60 seconds."""
        return await self._write(wanted, IssuePayCodeResponse, from_pay_code, deadline_seconds)

    async def set_consent(self, change: SetConsent, *, deadline_seconds: float | None = None) -> ConsentSet:
        """Sets or withdraws a member's consent to burns at a partner."""
        return await self._write(change, SetConsentResponse, from_consent, deadline_seconds)

    async def wallet(self, member_id: str, *, deadline_seconds: float | None = None) -> Wallet:
        """Reads the account of a member linked to the caller."""
        request = to_wallet_request(member_id)
        return await self._read(methods.GET_WALLET, request, GetWalletResponse, from_wallet, deadline_seconds)

    async def entries(
        self,
        *,
        member_id: str = "",
        page_size: int = 100,
        page_token: str = "",
        deadline_seconds: float | None = None,
    ) -> EntryPage:
        """A page (1 to 1,000) of the entries the caller posted, newest first; of one member where named."""
        request = to_entries_request(member_id, page_size, page_token)
        return await self._read(
            methods.LIST_ENTRIES, request, ListEntriesResponse, from_entries, deadline_seconds
        )

    def watch_entries(
        self, *, after: Cursor | None = None, give_up_seconds: float | None = None
    ) -> AsyncGenerator[WatchedEntries, None]:
        """The entries the caller posted (an operator's key: all) after a place, oldest first, without end.

        Keep `cursor` with `entries`, in one transaction: then each entry is had once, whoever restarts. A broken
        stream goes on by itself where it was; `give_up_seconds` without a word raise the last HubError.
        """
        return watch_entries(self.channel, after, give_up_seconds=give_up_seconds)

    async def ledger(self, *, deadline_seconds: float | None = None) -> Ledger:
        """Reads the ledger's constants."""
        return await self._read(
            methods.GET_LEDGER, GetLedgerRequest(), GetLedgerResponse, from_ledger, deadline_seconds
        )

    async def send(self, prepared: Prepared, *, deadline_seconds: float | None = None) -> AnswerBytes:
        """Sends the same bytes as on every other try, signed afresh. `read_results` reads the answer."""
        return await self.channel.send(prepared, deadline_seconds=deadline_seconds)

    async def call(
        self,
        method: str | MethodDescriptor,
        request: Message | bytes,
        answer_type: type[T],
        *,
        deadline_seconds: float | None = None,
    ) -> Answer[T]:
        """Calls any unary method of any Tongdui service; see `SignedChannel.call`."""
        return await self.channel.call(method, request, answer_type, deadline_seconds=deadline_seconds)

    async def close(self) -> None:
        """Closes the connection; the outcome of calls still under way is unknown."""
        await self.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _write(
        self, command: AnyCommand, kind: type[T], read: Reader[T, A], deadline_seconds: float | None
    ) -> A:
        prepared = prepare(command)
        answer = await self.send(prepared, deadline_seconds=deadline_seconds)
        return read_one(prepared, answer, kind, read)

    async def _read(
        self,
        path: str,
        request: Message,
        kind: type[T],
        read: Callable[[T], A],
        deadline_seconds: float | None,
    ) -> A:
        prepared = prepare_call(path, request)
        answer = await self.send(prepared, deadline_seconds=deadline_seconds)
        message = parse_answer(prepared, answer, kind)
        with readable(prepared, answer):
            return read(message)
