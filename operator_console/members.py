"""`tongdui-hub member`: members' accounts, and what the operator does to them."""

import argparse
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from operator_console.arguments import Commands, Verbs, add_event_time, add_reason, count, small
from operator_console.desk import Desk, Shown
from operator_console.plain import Row
from operator_console.screen import columns, details, table
from tongdui.exchange.v1 import accounts_service_pb2 as accounts
from tongdui.exchange.v1 import members_service_pb2 as members
from tongdui.exchange.v1 import points_service_pb2 as points

_STATES = {
    "freeze": ("stop an account from earning and spending", accounts.FreezeMemberRequest),
    "unfreeze": ("let a frozen account earn and spend again", accounts.UnfreezeMemberRequest),
}
_ENTRIES = columns(
    "entry_id", "decided_time", "kind", "partner_id", "points", "reference", "reason", "moved", "rate_version"
)


def add(commands: Commands, summary: str) -> None:
    """Adds the noun and its verbs."""
    verbs = Verbs(commands, "member", summary)
    _of_member(verbs.read("show", "show an account and its lots", run_show))
    entries = verbs.read("entries", "list an account's entries, newest first", run_entries)
    _of_member(entries)
    entries.add_argument("--limit", type=small, default=50, help="at most this many (%(default)s)")
    for name, (meaning, _) in _STATES.items():
        _decision(verbs.write(name, meaning, run_state)).set_defaults(state=name)
    close = "close an account for good: open points expire, deficits are forgiven"
    _decision(verbs.write("close", close, run_close, asks=True))
    merge = _decision(
        verbs.write("merge", "move an account into another of the person", run_merge, asks=True)
    )
    merge.add_argument("--into", required=True, metavar="ID", help="the account that lives on")
    unmerge = _decision(verbs.write("unmerge", "take a merge back", run_unmerge, asks=True))
    unmerge.add_argument("--merge", required=True, metavar="REQUEST-ID", help="the request id of the merge")
    consent = verbs.write("consent", "set or withdraw a consent to burns at a partner", run_consent)
    _of_member(consent)
    consent.add_argument("--partner", required=True, metavar="ID")
    consent.add_argument("--per-burn", type=count, required=True, metavar="POINTS", help="0 withdraws it")
    consent.add_argument("--per-day", type=count, required=True, metavar="POINTS", help="0 withdraws it")


def _of_member(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("member", metavar="ID", help="the hub's id of the member, such as m-00000000001a")


def _decision(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    _of_member(parser)
    add_reason(parser)
    add_event_time(parser)
    return parser


def run_show(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Shows an account."""
    answer = _wallet(desk, arguments.member)
    return Shown(answer, details(answer))


def run_entries(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Lists entries."""
    request = points.ListEntriesRequest(member_id=arguments.member)
    rows = desk.pages("ListEntries", request, "entries", arguments.limit)
    shown = [row | {"moved": _moved(row["legs"])} for row in rows]
    return Shown({"entries": rows}, table(shown, _ENTRIES, "no entries"))


def run_state(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Freezes or unfreezes an account."""
    _, request_type = _STATES[arguments.state]
    answer = desk.call(f"{arguments.state.capitalize()}Member", request_type(**_common(desk, arguments)))
    return Shown(answer, details(answer))


def run_close(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Closes an account."""
    if desk.asks:
        what = "Close it for good? Its available points expire and its deficit is forgiven."
        desk.ask(what, details(_wallet(desk, arguments.member)))
    answer = desk.call("CloseMember", accounts.CloseMemberRequest(**_common(desk, arguments)))
    return Shown(answer, details(answer))


def run_merge(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Merges an account into another."""
    if desk.asks:
        what = f"Move all points and deficits of {arguments.member} to {arguments.into}?"
        desk.ask(what, _both(_wallet(desk, arguments.member), _wallet(desk, arguments.into)))
    request = accounts.MergeMembersRequest(**_common(desk, arguments), into_member_id=arguments.into)
    answer = desk.call("MergeMembers", request)
    note = {"to_take_it_back": f"member unmerge {arguments.member} --merge {desk.request_id}"}
    return Shown(answer | {"request_id": desk.request_id}, details(answer | note))


def run_unmerge(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Takes a merge back."""
    if desk.asks:
        what = f"Take merge {arguments.merge} of {arguments.member} back, as far as points are still open?"
        desk.ask(what, details(_wallet(desk, arguments.member)))
    request = accounts.UnmergeMembersRequest(**_common(desk, arguments), original_request_id=arguments.merge)
    answer = desk.call("UnmergeMembers", request)
    return Shown(answer, details(answer))


def run_consent(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Sets a consent on the member's instruction."""
    request = members.SetConsentRequest(
        request_id=desk.request_id,
        member_id=arguments.member,
        partner_id=arguments.partner,
        consent=members.Consent(
            per_burn_limit_points=arguments.per_burn, per_day_limit_points=arguments.per_day
        ),
    )
    answer = desk.call("SetConsent", request)
    return Shown(answer, details(answer["consent"]))


def _common(desk: Desk, arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "request_id": desk.request_id,
        "member_id": arguments.member,
        "event_time": desk.event_time(),
        "reason": arguments.reason,
    }


def _wallet(desk: Desk, member_id: str) -> Row:
    return desk.call("GetWallet", points.GetWalletRequest(member_id=member_id))


def _both(gone: Row, survivor: Row) -> RenderableType:
    return Group(Text("from", style="bold"), details(gone), Text("into", style="bold"), details(survivor))


def _moved(legs: list[Row]) -> list[str]:
    return [
        f"{leg['points']:,} {leg['issuer_id']} {leg['from_account']} to {leg['to_account']}" for leg in legs
    ]
