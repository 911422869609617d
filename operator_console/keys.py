"""`tongdui-hub key`: a key is proven by its holder, registered by one person and approved by another."""

import argparse
from pathlib import Path

from merchant_adapter import Registration, Unreadable
from operator_console.arguments import Commands, Verbs, small
from operator_console.desk import Desk, Shown
from operator_console.screen import columns, details, table
from tongdui.exchange.v1 import partners_service_pb2 as pb2

ROLES = ("operator", "finance_maker", "finance_checker", "auditor")


def add(commands: Commands, summary: str) -> None:
    """Adds the noun and its verbs."""
    verbs = Verbs(commands, "key", summary)
    challenge = verbs.write("challenge", "make a challenge that a new key must sign", run_challenge)
    challenge.add_argument("owner", metavar="OWNER", help="a partner's id, or operator")
    challenge.add_argument("--person", default="", metavar="NAME", help="who will hold a key of the operator")
    register = verbs.write("register", "register a key by its proof of possession", run_register)
    register.add_argument("file", metavar="FILE", help="what `tongdui-adapter register` wrote")
    register.add_argument(
        "--role", action="append", default=[], choices=ROLES, help="for keys of the operator, may be repeated"
    )
    register.add_argument("--validity-days", type=small, metavar="DAYS", help="1 to 366; 366 if not given")
    listing = verbs.read("list", "list keys by id", run_list)
    listing.add_argument("--owner", default="", help="only this owner's")
    approve = verbs.write("approve", "approve a key that another person registered", run_approve)
    approve.add_argument("key_id", metavar="KEY-ID")
    revoke = verbs.write("revoke", "revoke a key at once and for ever", run_revoke)
    revoke.add_argument("key_id", metavar="KEY-ID")
    revoke.add_argument("--reason", required=True, help="why, at most 200 characters")


def run_challenge(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Makes a challenge."""
    if arguments.owner == "operator" and not arguments.person:
        raise Unreadable("give --person: a key of the operator belongs to somebody")
    request = pb2.CreateKeyChallengeRequest(
        request_id=desk.request_id, owner=arguments.owner, holder=arguments.person
    )
    answer = desk.call("CreateKeyChallenge", request)
    return Shown(answer, details(answer | {"next": "the holder proves the key: tongdui-adapter register"}))


def run_register(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Registers a key from its registration file, whose proof is checked here already."""
    proof = Registration.from_json(Path(arguments.file).read_bytes())
    request = pb2.RegisterKeyRequest(
        request_id=desk.request_id,
        owner=proof.owner,
        holder=proof.holder,
        public_key=proof.public_key,
        challenge=proof.challenge,
        proof=proof.proof,
        roles=[pb2.Role.Value(f"ROLE_{role.upper()}") for role in arguments.role],
        validity_days=arguments.validity_days,
    )
    answer = desk.call("RegisterKey", request)
    return Shown(answer, details(answer["key"] | {"next": "another person approves it"}))


def run_list(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Lists keys."""
    rows = desk.pages("ListKeys", pb2.ListKeysRequest(owner=arguments.owner), "keys")
    shown = columns("key_id", "owner", "holder", "roles", "state", "valid_from", "valid_until")
    return Shown({"keys": rows}, table(rows, shown, "no keys"))


def run_approve(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Approves a key."""
    request = pb2.ApproveKeyRequest(request_id=desk.request_id, key_id=arguments.key_id)
    answer = desk.call("ApproveKey", request)
    return Shown(answer, details(answer["key"]))


def run_revoke(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Revokes a key."""
    request = pb2.RevokeKeyRequest(
        request_id=desk.request_id, key_id=arguments.key_id, reason=arguments.reason
    )
    answer = desk.call("RevokeKey", request)
    return Shown(answer, details(answer["key"]))
