"""`tongdui-hub adjust`: corrections by two people. Approving one posts it; one that is not posted can be withdrawn."""

import argparse
from typing import Any

from operator_console.arguments import Commands, Verbs, add_reason, count, day, moment, small
from operator_console.desk import Desk, Shown, to_timestamp
from operator_console.plain import Row
from operator_console.screen import columns, details, table
from tongdui.exchange.v1 import accounts_service_pb2 as pb2
from tongdui.exchange.v1 import commands_pb2

_SUBJECTS = ("earn", "claw_back_earn", "burn", "refund_burn", "money")


def add(commands: Commands, summary: str) -> None:
    """Adds the noun and its verbs."""
    verbs = Verbs(commands, "adjust", summary)
    propose = verbs.write(
        "propose",
        "propose a correction: a command that should have been, or money between partners and operator",
        run_propose,
    )
    propose.add_argument("kind", choices=[name.replace("_", "-") for name in _SUBJECTS])
    add_reason(propose)
    propose.add_argument(
        "--event-time", type=moment, required=True, metavar="TIME", help="when it should have been"
    )
    _add_command(propose.add_argument_group("a command"))
    money = propose.add_argument_group("money")
    money.add_argument("--payer", metavar="ID", help="a partner's id, or OPERATOR")
    money.add_argument("--payee", metavar="ID", help="a partner's id, or OPERATOR")
    money.add_argument("--micros", type=count, help="how much, in millionths of the major unit")
    listing = verbs.read("list", "list corrections, newest first", run_list)
    listing.add_argument(
        "--open", action="store_true", help="only those that nobody has approved or withdrawn yet"
    )
    approve = verbs.write("approve", "post a correction that another person proposed", run_approve, asks=True)
    withdraw = verbs.write(
        "withdraw",
        "take a correction that is not posted back, for ever; one's own, or as who may approve",
        run_withdraw,
    )
    add_reason(withdraw)
    for verb in (approve, withdraw):
        verb.add_argument("adjustment", type=count, metavar="NUMBER")


def _add_command(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--partner", metavar="ID", help="the partner that it stands for")
    group.add_argument("--member", metavar="ID")
    group.add_argument("--store", metavar="ID")
    group.add_argument("--terminal", metavar="ID")
    group.add_argument("--reference", help="the partner's order or receipt number")
    group.add_argument("--points", type=count)
    group.add_argument("--spend-minor", type=count, help="of an earn: eligible spend in minor units")
    group.add_argument("--expiry-date", type=day, metavar="DAY", help="of an earn: the last usable day")
    group.add_argument("--original", metavar="REQUEST-ID", help="of a claw back or refund: what it follows")
    group.add_argument("--part", type=small, help="of a claw back or refund: the number of this part")
    group.add_argument("--refunded-spend-minor", type=count, help="of a claw back: instead of points")


def run_propose(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Proposes a correction."""
    proposal = pb2.ProposeAdjustmentRequest(
        request_id=desk.request_id, reason=arguments.reason, partner_id=arguments.partner or ""
    )
    getattr(proposal, arguments.kind.replace("-", "_")).CopyFrom(_subject(desk, arguments))
    answer = desk.call("ProposeAdjustment", proposal)
    hint = f"another person approves it: adjust approve {answer['adjustment_id']}"
    return Shown(answer, details(answer | {"next": hint}))


def run_list(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Lists corrections."""
    rows = _listed(desk, open_only=arguments.open)
    shown = columns(
        "adjustment_id", "what", "reason", "proposed_by", "propose_time", "entry_id", "withdrawn_by"
    )
    return Shown({"adjustments": rows}, table([_summary(row) for row in rows], shown, "no corrections"))


def run_approve(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Posts a correction, after showing it to whoever is asked."""
    number = arguments.adjustment
    if desk.asks:
        found = [row for row in _listed(desk, open_only=True) if row["adjustment_id"] == number]
        shown = details(found[0]) if found else "it is not among the open ones"
        desk.ask(f"Post correction {number}?", shown)
    request = pb2.ApproveAdjustmentRequest(request_id=desk.request_id, adjustment_id=number)
    answer = desk.call("ApproveAdjustment", request)
    return Shown(answer, details(answer))


def run_withdraw(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Takes a correction back."""
    request = pb2.WithdrawAdjustmentRequest(
        request_id=desk.request_id, adjustment_id=arguments.adjustment, reason=arguments.reason
    )
    answer = desk.call("WithdrawAdjustment", request)
    return Shown(answer, details(answer))


def _listed(desk: Desk, *, open_only: bool) -> list[Row]:
    return desk.pages("ListAdjustments", pb2.ListAdjustmentsRequest(open_only=open_only), "adjustments")


def _summary(row: Row) -> Row:
    proposal = row["proposal"]
    kind = next(name for name in _SUBJECTS if name in proposal)
    subject = proposal[kind]
    if kind == "money":
        what = f"{subject['micros']:,} micros from {subject['payer_id']} to {subject['payee_id']}"
    else:
        basis = next((name for name in _BASES if name in subject), "points")
        amount = f"{subject.get(basis, 0):,} {basis.replace('_', ' ')}"
        what = f"{kind.replace('_', ' ')} of {amount} at {proposal['partner_id']} for {subject['member_id']}"
    return row | {"what": what, "reason": proposal["reason"]}


_BASES = ("points", "eligible_spend_minor", "native_points", "refunded_spend_minor")


def _subject(desk: Desk, arguments: argparse.Namespace) -> Any:
    when = to_timestamp(arguments.event_time)
    if arguments.kind == "money":
        return pb2.MoneyMove(
            payer_id=arguments.payer, payee_id=arguments.payee, micros=arguments.micros, event_time=when
        )
    common = {
        "request_id": desk.request_id,
        "member_id": arguments.member,
        "event_time": when,
        "store_id": arguments.store,
        "terminal_id": arguments.terminal,
        "reference": arguments.reference,
        "points": arguments.points,
    }
    original = {"original_request_id": arguments.original, "part": arguments.part}
    match arguments.kind:
        case "earn":
            return commands_pb2.EarnRequest(
                **common, eligible_spend_minor=arguments.spend_minor, expiry_date=arguments.expiry_date
            )
        case "claw-back-earn":
            return commands_pb2.ClawBackEarnRequest(
                **common, **original, refunded_spend_minor=arguments.refunded_spend_minor
            )
        case "burn":
            return commands_pb2.BurnRequest(**common)
        case _:
            return commands_pb2.RefundBurnRequest(**common, **original)
