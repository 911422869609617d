"""The arguments of daily and of the desk's commands: breaks, break, dispute, audit."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date
from typing import Final

from settlement.core.break_state import AGE_BUCKETS, DEFAULT_DEADLINE, PROPOSED, BreakState, DisputeState

_DATABASE: Final = ("database_url",)
_PERSON: Final = ("database_url", "person_key_file")
_HUB: Final = (*_PERSON, "hub_address", "hub_ca_file", "hub_keys_file", "audience")
_DAILY: Final = (
    *("database_url", "hub_address", "hub_ca_file", "finance_key_file", "key_id"),
    *("hub_keys_file", "audience", "key_file"),
)

AddCommand = Callable[..., argparse.ArgumentParser]
"""Adds a command: its name, summary and settings, whether it is `dated`, its `epilog`."""


def add_desk_commands(
    top: AddCommand, below: Callable[[str, str], AddCommand], day: Callable[[str], date]
) -> None:
    """Adds them with `top`, or with what `below` gives for a name and a summary: `break show`."""
    _add_daily(top, day)
    _add_breaks(top, day)
    _add_break(below("break", "show a break, or do something about it"))
    _add_dispute(below("dispute", "disputes between partners about breaks"))
    top("people", "show who may do what", _DATABASE, dated=False)
    audit = top("audit", "show or check who did what", (*_DATABASE, "key_file"), dated=False)
    audit.add_argument("--item", metavar="KIND/ID", help="of one item, such as window/2026-01-01 or break/7")
    audit.add_argument("--person", metavar="NAME", help="of one person; `settlement` for the program itself")
    audit.add_argument("--date", type=day, metavar="DAY", help="of one calendar day in the ledger's zone")
    audit.add_argument("--limit", type=_positive, default=1_000, metavar="N", help="the newest N (1000)")
    audit.add_argument(
        "--verify", action="store_true", help="hash the whole chain again and check every signature"
    )
    audit.add_argument(
        "--known", metavar="HASH", help="with --verify: the chain has to contain this hash, noted down before"
    )


def _add_daily(top: AddCommand, day: Callable[[str], date]) -> None:
    daily = top("daily", "do everything that is due, up to where people decide", _DAILY, dated=False)
    which = daily.add_mutually_exclusive_group()
    which.add_argument("--date", type=day, metavar="DAY", help="this day only (default: every day)")
    which.add_argument("--through", type=day, metavar="DAY", help="every day up to this")
    daily.add_argument(
        "--inbox",
        metavar="DIR",
        help="first load the partners' files there: PARTNER.YYYY-MM-DD.csv, .jsonl or .mapped",
    )


def _add_breaks(top: AddCommand, day: Callable[[str], date]) -> None:
    breaks = top("breaks", "list breaks that are not resolved", _DATABASE, dated=False)
    breaks.add_argument("--partner", metavar="ID", help="of one partner")
    breaks.add_argument("--date", type=day, metavar="DAY", help="of one business day")
    breaks.add_argument("--state", choices=[state.value for state in BreakState], help="in one state")
    breaks.add_argument("--type", metavar="TYPE", help="of one type, such as MISSING_AT_HUB")
    breaks.add_argument("--overdue", action="store_true", help="past their due time")
    breaks.add_argument("--age", choices=AGE_BUCKETS, help="of one age in days")
    breaks.add_argument("--all", action="store_true", help="resolved ones too")
    breaks.add_argument("--limit", type=_positive, default=1_000, metavar="N", help="at most N (1000)")
    breaks.add_argument(
        "--after", type=_positive, default=0, metavar="ID", help="those with greater numbers than this"
    )


def _add_break(desk: AddCommand) -> None:
    show = _item(desk, "show", "show a break with both sides, its history and evidence", _DATABASE)
    show.add_argument("--evidence", metavar="SHA256", help="write this file of its evidence to --out")
    show.add_argument("--out", metavar="FILE", help="where --evidence goes")

    assign = _item(desk, "assign", "make somebody the owner of a break", _PERSON)
    assign.add_argument("person", metavar="PERSON", help="the owner's name")

    comment = _item(desk, "comment", "say something about a break", _PERSON)
    comment.add_argument("text", metavar="TEXT", help="at most 2,000 characters")
    _evidence(comment)

    resolve = _item(desk, "resolve", "propose how to resolve a break without a posting", _PERSON)
    kinds = [kind.value.lower().replace("_", "-") for kind in PROPOSED]
    resolve.add_argument("--kind", required=True, choices=kinds, help="how")
    _reason(resolve)

    adjust = _item(desk, "adjust", "propose a correction that the hub posts", _HUB)
    _reason(adjust)
    adjust.add_argument("--member", default="", metavar="ID", help="where neither record names the member")
    adjust.add_argument("--store", default="", metavar="ID", help="where neither record names the store")
    adjust.add_argument("--terminal", default="", metavar="ID", help="where neither record names the till")
    adjust.add_argument(
        "--original",
        default="",
        metavar="REQUEST",
        help="request id of the earn or burn that a claw back or refund takes back",
    )
    _yes(adjust)

    approve = _item(desk, "approve", "agree with what another person proposed", _HUB)
    approve.add_argument("--reason", default="", metavar="TEXT", help="why, if there is more to say")
    _yes(approve)
    _reason(_item(desk, "reject", "disagree with what another person proposed", _HUB))
    _reason(_item(desk, "withdraw", "withdraw a correction that nobody proposes any more at the hub", _HUB))
    _reason(_item(desk, "reopen", "open a resolved break again", _PERSON))


def _add_dispute(disputes: AddCommand) -> None:
    listed = disputes("list", "list disputes that are not decided", _DATABASE, dated=False)
    listed.add_argument("--state", choices=[state.value for state in DisputeState], help="in one state")

    opened = _item(disputes, "open", "claim that another partner has to bear a break", _PERSON)
    opened.add_argument("--against", required=True, metavar="PARTNER", help="the other partner")
    opened.add_argument("--by", metavar="PARTNER", help="who claims it (the break's own partner)")
    opened.add_argument("--claim", required=True, metavar="TEXT", help="what is claimed")
    opened.add_argument(
        "--days",
        type=_positive,
        default=DEFAULT_DEADLINE.days,
        metavar="N",
        help=f"days to answer, at most 60 ({DEFAULT_DEADLINE.days})",
    )
    _evidence(opened)

    answer = _item(disputes, "answer", "answer a claim for the other partner", _PERSON, "DISPUTE")
    answer.add_argument("--text", required=True, metavar="TEXT", help="the answer")
    _evidence(answer)

    decide = _item(disputes, "decide", "decide between two partners", _PERSON, "DISPUTE")
    decide.add_argument(
        "--for", dest="in_favour_of", required=True, metavar="PARTNER", help="who is in the right"
    )
    decide.add_argument("--decision", required=True, metavar="TEXT", help="why")


def _item(
    acts: AddCommand, name: str, summary: str, settings: tuple[str, ...], item: str = "BREAK"
) -> argparse.ArgumentParser:
    parser = acts(name, summary, settings, dated=False)
    parser.add_argument("number", type=_positive, metavar=item, help="its number")
    return parser


def _reason(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why, at most 200 characters")


def _evidence(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--evidence", metavar="FILE", help="a file that shows it, at most 10 MiB")


def _yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="post without asking")


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
