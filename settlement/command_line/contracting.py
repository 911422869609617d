"""The command `contract`: how partners settle where it is not the multilateral net."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

from rich.console import RenderableType

from settlement.command_line import screen
from settlement.command_line.session import Session, open_daily_run, open_reads
from settlement.contracts import Contracts
from settlement.core.contracts import Contract, ContractKind

MULTILATERAL = "multilateral"
"""The kind that every partner has without a contract."""

KINDS = (*(kind.value.lower() for kind in ContractKind), MULTILATERAL)


def set_contract(session: Session, arguments: argparse.Namespace) -> None:
    """Sets how a partner or a pair settles from a day on."""
    session.settings.require("person_key_file")
    kind = None if arguments.kind == MULTILATERAL else ContractKind(arguments.kind.upper())
    other = arguments.other or ""
    with open_daily_run(session.settings) as run:
        changed = Contracts(run.connection, run.actor).set(kind, arguments.partner, other, arguments.first)
    parties = f"{arguments.partner} with {other}" if other else arguments.partner
    content = {"partner_id": arguments.partner, "counterparty_id": other, "kind": arguments.kind.upper()}
    text = f"{parties}: {arguments.kind} from {arguments.first}" + ("" if changed else ", as before")
    session.show(content | {"valid_from": str(arguments.first), "changed": changed}, lambda: text)


def list_contracts(session: Session, arguments: argparse.Namespace) -> None:
    """Shows the contracts of a day, or all there ever were."""
    with open_reads(session.settings) as reads:
        found = reads.contracts(arguments.date)
    session.show({"contracts": list(map(_content, found))}, partial(_view, found))


def _content(contract: Contract) -> dict[str, Any]:
    return {
        "partner_id": contract.partner_id,
        "counterparty_id": contract.counterparty_id,
        "kind": contract.kind,
        "valid_from": str(contract.valid_from),
        "valid_until": str(contract.valid_until or ""),
    }


def _view(contracts: Sequence[Contract]) -> RenderableType:
    table = screen.plain_table(["partner", "with", "kind", "from", "until"], [])
    for contract in contracts:
        table.add_row(*_content(contract).values())
    return screen.titled("Contracts; everybody else settles the multilateral net", table)
