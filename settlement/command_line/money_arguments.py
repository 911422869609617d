"""The arguments of the commands from certificate to money, and of contracts and restatements."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date

from settlement.command_line import bank_results, contracting, paying
from settlement.core.payments import PaymentState
from settlement.people import MAX_REASON

AddCommand = Callable[..., argparse.ArgumentParser]
"""Adds a command: its name, summary and settings, whether it is `dated`, its `epilog`."""

_DATABASE = ("database_url",)
_ACT = (*_DATABASE, "person_key_file")
_HUB = ("hub_address", "hub_ca_file", "finance_key_file", "key_id", "hub_keys_file", "audience")


def add_money_commands(
    top: AddCommand, below: Callable[[str, str], AddCommand], day: Callable[[str], date]
) -> None:
    """Adds them with `top`, or with what `below` gives for a name and a summary: `payment mark`."""
    top("approve", "approve a certified day, as another person than who certified it", _ACT, dated=True)
    abort = top("abort", "give up a day's run, which stays on record, to net it again", _ACT, dated=True)
    abort.add_argument("--reason", required=True, type=_reason, metavar="TEXT", help="why, for the audit log")
    export = top(
        "export",
        "make an approved day's payment list",
        (*_ACT, "key_file"),
        dated=True,
        epilog=_columns("CSV columns", paying.CSV_COLUMNS),
    )
    export.add_argument("--payments", action="store_true", required=True, help="the payment list")
    export.add_argument(
        "--csv", metavar="FILE", help="also write it to FILE; to standard output alone with -"
    )
    top("runs", "show a day's runs, aborted ones too", _DATABASE, dated=True)
    listed = top("payments", "show payments with their states", _DATABASE, dated=False)
    listed.add_argument("--date", type=day, metavar="DAY", help="of this day only")
    listed.add_argument("--state", choices=_states(*PaymentState), help="in this state only")
    top("settle", "tell the hub that a day's payments are final", (*_ACT, *_HUB, "key_file"), dated=True)
    top("restate", "show what a day would have been with all that happened on it", _DATABASE, dated=True)
    _add_payment(below("payment", "show a payment, or move payments on"))
    _add_contract(below("contract", "set and show how partners settle among themselves"), day)


def _add_payment(add: AddCommand) -> None:
    show = add("show", "show one payment and its history", _DATABASE, dated=False)
    mark = add("mark", "move one payment on", _ACT, dated=False)
    default = add("default", "approve a default that another person proposed", _ACT, dated=False)
    for command in (show, mark, default):
        command.add_argument("payment_id", metavar="ID", help="as on the payment list")
    mark.add_argument(
        "--state",
        required=True,
        choices=_states(*(state for state in PaymentState if state is not PaymentState.DUE)),
        help="what has become of it; defaulted is a proposal",
    )
    mark.add_argument(
        "--reference",
        required=True,
        type=_reference,
        metavar="TEXT",
        help="the bank's, or another, reference",
    )
    mark.add_argument("--reason", type=_reason, metavar="TEXT", help="needed for defaulted")
    results = add(
        "import",
        "move payments on by a file of bank results",
        _ACT,
        dated=False,
        epilog=_columns("CSV columns of FILE", bank_results.COLUMNS),
    )
    results.add_argument("file", metavar="FILE", help="CSV, taken whole or refused whole")


def _add_contract(add: AddCommand, day: Callable[[str], date]) -> None:
    new = add("set", "set how a partner or a pair settles from a day on", _ACT, dated=False)
    new.add_argument("kind", choices=contracting.KINDS, help="multilateral ends a contract")
    new.add_argument("--partner", required=True, metavar="ID", help="the partner")
    new.add_argument("--with", dest="other", metavar="ID", help="the other partner of a bilateral contract")
    new.add_argument("--from", dest="first", required=True, type=day, metavar="DAY", help="the first day")
    listed = add("list", "show contracts", _DATABASE, dated=False)
    listed.add_argument("--date", type=day, metavar="DAY", help="those in force on this day only")


def _states(*states: PaymentState) -> list[str]:
    return [state.value.lower() for state in states]


def _reason(text: str) -> str:
    if not text.strip() or len(text) > MAX_REASON:
        raise argparse.ArgumentTypeError(f"1 to {MAX_REASON} characters")
    return text


def _reference(text: str) -> str:
    fault = bank_results.reference_fault(text)
    if fault:
        raise argparse.ArgumentTypeError(fault)
    return text


def _columns(title: str, columns: dict[str, str]) -> str:
    return f"{title}:\n" + "\n".join(f"  {name:<18} {meaning}" for name, meaning in columns.items())
