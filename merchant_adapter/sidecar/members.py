"""Members, prices and accounts: straight through to the hub, nothing of it is stored here."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse

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
from merchant_adapter.client import Hub
from merchant_adapter.commands import (
    EnrollMember,
    IssuePayCode,
    LinkAlias,
    SetConsent,
    StartContactProof,
    UnlinkAlias,
)
from merchant_adapter.errors import HubError
from merchant_adapter.quotes import Quote, QuoteRequest
from merchant_adapter.sidecar.context import Context, Mounted
from merchant_adapter.sidecar.failures import of_hub
from merchant_adapter.sidecar.models import PRINTABLE_WORD, answer_of, body_of, said, value_of
from merchant_adapter.sidecar.problems import described, documented
from merchant_adapter.sidecar.waiting import Prefer, wait_of

MemberId = Annotated[str, Path(pattern=PRINTABLE_WORD, description="As the hub named the member.")]

_PROBLEMS = documented(
    HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE
) | {504: described("OUTCOME_UNKNOWN: repeat it as it is, with the same request_id.")}


@dataclass(frozen=True, slots=True)
class _Call:
    """One method of the hub: how its route is called, what it takes and gives."""

    name: str
    takes: type[Any]
    gives: type[Any]
    method: Callable[..., Awaitable[Any]]


_WRITES = (
    _Call("start_contact_proof", StartContactProof, ProofStarted, Hub.start_contact_proof),
    _Call("enroll", EnrollMember, Enrolled, Hub.enroll),
    _Call("link", LinkAlias, Linked, Hub.link),
    _Call("unlink", UnlinkAlias, Unlinked, Hub.unlink),
    _Call("set_consent", SetConsent, ConsentSet, Hub.set_consent),
    _Call("issue_pay_code", IssuePayCode, PayCode, Hub.issue_pay_code),
)
_QUOTE = _Call("quote", QuoteRequest, Quote, Hub.quote)


def mounted(context: Context) -> Mounted:
    """The routes."""
    router = APIRouter(prefix="/v1", tags=["members"], responses=_PROBLEMS)
    for call in _WRITES:
        _add(router, context, call, HTTPStatus.CONFLICT)
    _add(router, context, _QUOTE, HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND)
    _add_reads(router, context.hub)
    return Mounted(router=router)


def _add(router: APIRouter, context: Context, call: _Call, *problems: HTTPStatus) -> None:
    async def ask(body: Any, prefer: Prefer = None) -> Response:
        wait, wanted = wait_of(prefer), value_of(call.takes, body)
        # There is nothing to answer at once with: `respond-async` is not for these.
        seconds = wait.seconds or wait_of(None).seconds
        try:
            given = await call.method(context.hub, wanted, deadline_seconds=seconds)
        except HubError as error:
            answer = of_hub(error, is_read=call is _QUOTE)
        else:
            answer = JSONResponse(said(given))
        answer.headers["Preference-Applied"] = f"wait={seconds}"
        return answer

    ask.__annotations__["body"] = body_of(call.takes)  # made, so it can't be written there
    router.add_api_route(
        f"/{call.name}",
        ask,
        methods=["POST"],
        operation_id=call.name,
        summary=call.method.__doc__,
        description=call.takes.__doc__,
        responses=documented(*problems)
        | {200: {"model": answer_of(call.gives), "description": call.gives.__doc__}},
    )


def _add_reads(router: APIRouter, hub: Hub) -> None:
    lookup = documented(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)

    @router.get(
        "/members/{member_id}/wallet",
        operation_id="get_wallet",
        response_model=answer_of(Wallet),
        responses=lookup,
    )
    async def get_wallet(member_id: MemberId) -> Response:
        """The account of a member linked to the caller."""
        return JSONResponse(said(await hub.wallet(member_id)))

    @router.get(
        "/members/{member_id}/entries",
        operation_id="get_entries",
        response_model=answer_of(EntryPage),
        responses=lookup,
    )
    async def get_entries(
        member_id: MemberId,
        page_size: Annotated[int, Query(ge=1, le=1_000)] = 100,
        page_token: Annotated[str, Query(max_length=2_048, description="Of the page before.")] = "",
    ) -> Response:
        """The entries that the caller posted for a member, newest first."""
        found = await hub.entries(member_id=member_id, page_size=page_size, page_token=page_token)
        return JSONResponse(said(found))

    @router.get(
        "/ledger",
        operation_id="get_ledger",
        response_model=answer_of(Ledger),
        responses=documented(HTTPStatus.CONFLICT),
    )
    async def get_ledger() -> Response:
        """The ledger's constants: currency, time zone, limits, clock."""
        return JSONResponse(said(await hub.ledger()))
