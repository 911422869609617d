"""`tongdui-hub card`: prices are proposed by one person, looked at, and approved by another."""

import argparse

from rich.console import Group, RenderableType
from rich.text import Text

from operator_console.arguments import Commands, Verbs, count, expiry, fraction, moment, small
from operator_console.desk import Desk, Shown, to_timestamp
from operator_console.plain import Row
from operator_console.screen import Column, columns, details, money, table
from tongdui.exchange.v1 import rate_cards_service_pb2 as pb2

_LISTED = (
    *columns("version", "state", "valid_from", "earn_rate"),
    Column("face value", "face_value_micros"),
    Column("F", "funding_micros"),
    Column("R", "reimbursement_micros"),
    Column("fee", "issue_fee_micros"),
    Column("P", "prefunded_micros"),
    *columns("native_rate_in", "native_rate_out", "exchange_spread", "expiry_policy"),
    *columns("proposed_by", "approved_by", "withdrawn_by"),
)
_METAVARS = {moment: "TIME", fraction: "N/D", count: "MICROS", expiry: "POLICY"}
_IMPACTS = {
    "funding_micros": "outstanding points, if issued under it, cost the partner",
    "member_value_micros": "spendable points buy at its checkout",
    "reimbursement_micros": "it receives for others' points, if all are spent there",
    "earn_cost_micros": "points for 1.00 of spend cost it",
    "earn_value_micros": "points for 1.00 of spend buy",
}


def add(commands: Commands, summary: str) -> None:
    """Adds the noun and its verbs."""
    verbs = Verbs(commands, "card", summary)
    _add_propose(verbs)
    _of_version(
        verbs.read("preview", "show what a card would change and what speaks against it", run_preview)
    )
    approve = "approve a card that another person proposed: it will price events"
    _of_version(verbs.write("approve", approve, run_approve, asks=True))
    _of_version(verbs.write("withdraw", "take a proposed card back, for ever", run_withdraw))
    listing = verbs.read("list", "list a partner's cards, newest version first", run_list)
    listing.add_argument("partner", metavar="PARTNER")
    listing.add_argument("--state", choices=("proposed", "approved", "withdrawn"), help="only these")
    show = verbs.read("show", "show one card: the one in force now unless told otherwise", run_show)
    show.add_argument("partner", metavar="PARTNER")
    which = show.add_mutually_exclusive_group()
    which.add_argument("--version", type=small, help="this version, whatever its state")
    which.add_argument("--at", type=moment, metavar="TIME", help="the one that prices events of this time")


def _add_propose(verbs: Verbs) -> None:
    propose = verbs.write("propose", "propose the next version of a partner's card", run_propose)
    propose.add_argument("partner", metavar="PARTNER")
    for option, kind, meaning in (
        ("--valid-from", moment, "the first moment it prices events, ISO 8601 with zone"),
        ("--earn-rate", fraction, "points per 1.00 of eligible spend, such as 1 or 3/2"),
        ("--face-value", count, "what a point buys at this partner's checkout, in micros (10000 is 0.01)"),
        ("--funding", count, "F, what the issuer pays per point, in micros"),
        ("--reimbursement", count, "R, what the redeemer receives per point, in micros"),
        ("--prefunded", count, "P, the part of F paid into the pool at issue, in micros"),
        ("--expiry", expiry, "never, days:365, months:12 (to the end of the month) or date:2027-12-31"),
    ):
        propose.add_argument(option, type=kind, required=True, metavar=_METAVARS[kind], help=meaning)
    for option, kind, meaning in (
        ("--issue-fee", count, "the operator's fee per point earned, in micros"),
        ("--breakage-issuer-share", fraction, "the issuer's share of what expired points release; 0"),
        ("--native-in", fraction, "points per native point; not exchanged if not given"),
        ("--native-out", fraction, "native points per point; not exchanged if not given"),
        ("--spread", fraction, "the part taken on the way in; 0"),
    ):
        propose.add_argument(option, type=kind, metavar=_METAVARS[kind], help=meaning)


def _of_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("partner", metavar="PARTNER")
    parser.add_argument("version", type=small, metavar="VERSION")


def run_propose(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Proposes a card and says what is next."""
    card = pb2.RateCard(
        partner_id=arguments.partner,
        valid_from=to_timestamp(arguments.valid_from),
        earn_rate=arguments.earn_rate,
        native_rate_in=arguments.native_in,
        native_rate_out=arguments.native_out,
        exchange_spread=arguments.spread,
        face_value_micros=arguments.face_value,
        funding_micros=arguments.funding,
        reimbursement_micros=arguments.reimbursement,
        issue_fee_micros=arguments.issue_fee,
        prefunded_micros=arguments.prefunded,
        expiry_policy=arguments.expiry,
        breakage_issuer_share=arguments.breakage_issuer_share,
    )
    request = pb2.ProposeRateCardRequest(request_id=desk.request_id, rate_card=card)
    answer = desk.call("ProposeRateCard", request)
    hint = "look at it with `card preview`; another person approves it"
    return Shown(answer, details(answer["rate_card"] | {"next": hint}))


def run_preview(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Shows what a card would change."""
    answer = _preview(desk, arguments)
    return Shown(answer, _impact(answer))


def run_approve(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Approves a card, after showing what it changes to whoever is asked."""
    if desk.asks:
        question = f"Approve version {arguments.version} of {arguments.partner}?"
        desk.ask(question, _impact(_preview(desk, arguments)))
    request = pb2.ApproveRateCardRequest(
        request_id=desk.request_id, partner_id=arguments.partner, version=arguments.version
    )
    answer = desk.call("ApproveRateCard", request)
    return Shown(answer, details(answer["rate_card"]))


def run_withdraw(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Withdraws a proposed card."""
    request = pb2.WithdrawRateCardRequest(
        request_id=desk.request_id, partner_id=arguments.partner, version=arguments.version
    )
    answer = desk.call("WithdrawRateCard", request)
    return Shown(answer, details(answer["rate_card"]))


def run_list(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Lists cards."""
    request = pb2.ListRateCardsRequest(partner_id=arguments.partner)
    if arguments.state:
        request.state = pb2.RateCard.State.Value(f"STATE_{arguments.state.upper()}")
    rows = desk.pages("ListRateCards", request, "rate_cards")
    return Shown({"rate_cards": rows}, table(rows, _LISTED, "no rate cards"))


def run_show(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Shows one card."""
    request = pb2.GetRateCardRequest(partner_id=arguments.partner)
    if arguments.version is not None:
        request.version = arguments.version
    if arguments.at is not None:
        request.in_force_at.CopyFrom(to_timestamp(arguments.at))
    answer = desk.call("GetRateCard", request)
    return Shown(answer, details(answer["rate_card"]))


def _preview(desk: Desk, arguments: argparse.Namespace) -> Row:
    request = pb2.PreviewRateCardRequest(partner_id=arguments.partner, version=arguments.version)
    return desk.call("PreviewRateCard", request, long=True)


def _impact(preview: Row) -> RenderableType:
    before, after = preview.get("before", {}), preview.get("after", {})
    rows = [
        {"what": text, "before": _amount(before, name), "after": _amount(after, name)}
        for name, text in _IMPACTS.items()
    ]
    objections = [
        {"reason": one["reason"], "message": one["message"], "because": one["metadata"]}
        for one in preview["objections"]
    ]
    totals = {
        "replaced version": preview["replaced_version"] or "none",
        "outstanding points": preview["outstanding_points"],
        "liability": money(preview["liability_micros"]),
        "spendable points": preview["spendable_points"],
        "read at": preview["ledger_time"],
    }
    return Group(
        details(preview["rate_card"]),
        Text(),
        details(totals),
        table(preview["outstanding"], _OUTSTANDING, "no points of this partner are outstanding"),
        table(rows, columns("what", "before", "after"), ""),
        Text("speaks against it" if objections else "nothing speaks against it", style="bold"),
        table(objections, columns("reason", "message", "because"), "") if objections else "",
    )


_OUTSTANDING = (
    *columns("version", "open_points", "held_points"),
    Column("F", "funding_micros"),
    *columns("liability_micros", "prefunded_micros"),
)


def _amount(impact: Row, name: str) -> str:
    return money(impact[name]) if name in impact else ""
