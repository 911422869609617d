"""`keygen` and `register`."""

import argparse
import binascii
from pathlib import Path

from merchant_adapter import methods
from merchant_adapter.cli.arguments import Subparsers, add_address, connect
from merchant_adapter.cli.report import Report
from merchant_adapter.json_object import Unreadable, from_base64url, to_base64url
from merchant_adapter.keys import Key
from merchant_adapter.registration import Registration
from merchant_adapter.request_ids import new_request_id
from merchant_adapter.sync import SyncHub
from tongdui.exchange.v1 import partners_service_pb2 as pb2

ROLES = ("operator", "finance_maker", "finance_checker", "auditor")


def add(subparsers: "Subparsers[argparse.ArgumentParser]", shown: argparse.ArgumentParser) -> None:
    """Adds both commands."""
    keygen = subparsers.add_parser("keygen", parents=[shown], help="make a key pair; nothing is sent")
    keygen.add_argument("--partner", "--owner", dest="owner", required=True, help="who signs with it")
    keygen.add_argument("--out", required=True, metavar="DIR", help="made with mode 0700 if missing")
    keygen.add_argument("--holder", default="", help="the person who keeps it; for keys of the operator")
    keygen.set_defaults(run=run_keygen)

    register = subparsers.add_parser(
        "register",
        parents=[shown],
        help="prove possession of a new key",
        description="With --challenge, writes the file to hand to the operator. With --hub, --hub-keys and "
        "--sign-with, asks the hub for a challenge and registers the new key there. Either way the key waits "
        "until somebody at the operator approves it.",
    )
    register.add_argument("--key", required=True, metavar="FILE", help="the new key")
    register.add_argument("--challenge", metavar="BASE64URL", help="the challenge the operator gave you")
    register.add_argument("--out", metavar="FILE", help="where to write it; registration.json by default")
    register.add_argument("--sign-with", metavar="FILE", help="the current key, which the hub knows")
    register.add_argument(
        "--role", action="append", default=[], choices=ROLES, help="for keys of the operator"
    )
    register.add_argument(
        "--validity-days", type=int, choices=range(1, 367), metavar="DAYS", help="1 to 366; 366 if not given"
    )
    add_address(register, required=False)
    register.set_defaults(run=run_register)


def run_keygen(arguments: argparse.Namespace) -> Report:
    """Makes a key and says where it is."""
    key = Key.generate(arguments.owner, arguments.holder)
    path = key.save(arguments.out)
    public_key = to_base64url(key.public_key)
    return Report({"key_id": key.key_id, "public_key": public_key, "holder": key.holder, "file": str(path)})


def run_register(arguments: argparse.Namespace) -> Report:
    """Writes the registration file, or registers at the hub."""
    key = Key.load(arguments.key)
    if arguments.challenge is not None and arguments.hub is None:
        return _write_registration(key, arguments)
    if arguments.challenge is None and arguments.hub and arguments.hub_keys and arguments.sign_with:
        with connect(arguments, arguments.sign_with) as hub:
            return _register_at(hub, key, arguments)
    raise Unreadable("register: give either --challenge, or --hub with --hub-keys and --sign-with")


def _write_registration(key: Key, arguments: argparse.Namespace) -> Report:
    try:
        challenge = from_base64url(arguments.challenge)
    except binascii.Error as error:
        raise Unreadable("--challenge: expected base64url") from error
    registration = Registration.of(key, arguments.audience, challenge)
    path = Path(arguments.out or "registration.json")
    path.write_text(registration.to_json(), encoding="utf-8")
    return Report({"key_id": key.key_id, "file": str(path), "next": "hand the file to the operator"})


def _register_at(hub: SyncHub, key: Key, arguments: argparse.Namespace) -> Report:
    asked = pb2.CreateKeyChallengeRequest(request_id=new_request_id(), owner=key.owner, holder=key.holder)
    given = hub.call(methods.CREATE_KEY_CHALLENGE, asked, pb2.CreateKeyChallengeResponse).message
    registration = Registration.of(key, arguments.audience, given.challenge)
    request = pb2.RegisterKeyRequest(
        request_id=new_request_id(),
        owner=registration.owner,
        holder=registration.holder,
        public_key=registration.public_key,
        challenge=registration.challenge,
        proof=registration.proof,
        roles=[pb2.Role.Value(f"ROLE_{role.upper()}") for role in arguments.role],
        validity_days=arguments.validity_days,
    )
    found = hub.call(methods.REGISTER_KEY, request, pb2.RegisterKeyResponse).message.key
    state = pb2.Key.State.Name(found.state).removeprefix("STATE_").lower()
    return Report({"key_id": found.key_id, "state": state, "next": "another person approves it"})
