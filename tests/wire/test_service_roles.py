"""Who may call which rpc of the registrar's services, and which answers carry a receipt."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from sqlalchemy import create_engine

from exchange.registrar import Envelope, Membership, Registrar
from exchange.rpc.calls import Method, Stream
from exchange.rpc.directory import Directory
from exchange.rpc.journal import JournalService
from exchange.rpc.lanes import Lane, Lanes
from exchange.rpc.members import MembersService
from exchange.rpc.partners import PartnersService
from exchange.rpc.rate_cards import RateCardsService
from exchange.rpc.signatures import Caller
from exchange.rpc.watch import EntryWatch
from exchange.store.reads.snapshots import Snapshots
from tongdui.exchange.v1 import (
    journal_service_pb2,
    members_service_pb2,
    partners_service_pb2,
    rate_cards_service_pb2,
)

UNCONNECTED = create_engine("postgresql+psycopg://")
REGISTRAR, SNAPSHOTS = Registrar(UNCONNECTED), Snapshots(UNCONNECTED)
MEMBERSHIP = Membership(UNCONNECTED, Envelope(bytes(32)), None)


LANES = Lanes(Lane("read", 1, 1), Lane("write", 1, 1))


async def unread(_: int) -> None:
    return None


def no_sweep() -> nullcontext[Any]:
    return nullcontext()


async def no_check(_: Caller) -> None:
    return None


SERVICES: dict[str, tuple[Method | Stream, ...]] = {
    "PartnersService": PartnersService(REGISTRAR, SNAPSHOTS, Directory(unread), LANES).methods(),
    "RateCardsService": RateCardsService(REGISTRAR, SNAPSHOTS, LANES).methods(),
    "MembersService": MembersService(REGISTRAR, MEMBERSHIP, SNAPSHOTS, LANES, Lane("codes", 1, 1)).methods(),
    "JournalService": (
        *JournalService("hub.example", REGISTRAR, SNAPSHOTS, LANES, no_sweep).methods(),
        *EntryWatch(SNAPSHOTS, LANES.reads, LANES.reads, no_check).methods(),
    ),
}
METHODS = {method.name: method for methods in SERVICES.values() for method in methods}


def test_every_rpc_of_the_contract_is_served() -> None:
    contract = {
        name: {method.name for method in described.methods}
        for module in (
            journal_service_pb2,
            members_service_pb2,
            partners_service_pb2,
            rate_cards_service_pb2,
        )
        for name, described in module.DESCRIPTOR.services_by_name.items()
    }

    served = {name: {method.name for method in methods} for name, methods in SERVICES.items()}

    assert served == contract


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("GetLedger", {"partner", "operator", "finance_maker", "finance_checker", "auditor"}),
        ("ListPartners", {"partner", "operator", "finance_maker", "finance_checker", "auditor"}),
        ("ListKeys", {"partner", "operator", "finance_maker", "finance_checker", "auditor"}),
        ("ListRateCards", {"partner", "operator", "auditor"}),
        ("GetRateCard", {"partner", "operator", "auditor"}),
        ("PreviewRateCard", {"partner", "operator", "auditor"}),
        ("ListWindows", {"operator", "finance_maker", "finance_checker", "auditor"}),
        ("ListBatches", {"operator", "finance_maker", "finance_checker", "auditor"}),
        ("ListConsentHistory", {"partner", "operator", "auditor"}),
        ("GetMemberExport", {"partner", "operator"}),
        ("GetEntry", {"partner", "operator", "finance_maker", "finance_checker", "auditor"}),
        ("WatchEntries", {"partner", "operator", "finance_maker", "finance_checker", "auditor"}),
    ],
)
def test_a_read_is_for_its_roles(name: str, roles: set[str]) -> None:
    assert METHODS[name].roles == roles
    assert not METHODS[name].is_write


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("CreatePartner", {"operator"}),
        ("CreateKeyChallenge", {"operator", "partner"}),
        ("RegisterKey", {"operator", "partner"}),
        ("ApproveKey", {"operator"}),
        ("RevokeKey", {"operator", "partner"}),
        ("ProposeRateCard", {"operator"}),
        ("ApproveRateCard", {"operator"}),
        ("WithdrawRateCard", {"operator"}),
        ("EnrollMember", {"partner"}),
        ("BatchEnrollMembers", {"partner"}),
        ("LinkAlias", {"partner"}),
        ("BatchLinkAliases", {"partner"}),
        ("SetConsent", {"operator", "partner"}),
        ("UnlinkAlias", {"operator", "partner"}),
        ("StartContactProof", {"partner"}),
        ("IssuePayCode", {"operator", "partner"}),
        ("EraseMember", {"operator"}),
        ("SetLedgerTime", {"operator"}),
        ("CloseWindow", {"operator", "finance_maker", "finance_checker"}),
        ("SettleWindow", {"operator", "finance_maker", "finance_checker"}),
    ],
)
def test_a_write_is_for_its_roles_and_carries_a_receipt(name: str, roles: set[str]) -> None:
    assert METHODS[name].roles == roles
    assert METHODS[name].is_write
