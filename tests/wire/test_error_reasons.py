"""One list of reasons: proto, hub, rules and docs/errors.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exchange.core.refusals import UNRECORDED, Reason
from exchange.rpc.errors import CODES, MESSAGES
from tongdui.type.v1 import error_reason_pb2

PROJECT = Path(__file__).parents[2]
PREFIX = "ERROR_REASON_"
PROTO = {it.name.removeprefix(PREFIX) for it in error_reason_pb2.ErrorReason.DESCRIPTOR.values if it.number}
OWN_MESSAGE = {"INVALID_FIELD", "INTERNAL"}
"""Their message is made for the occasion."""

PROTO_COMMENT = re.compile(
    r"// (?P<code>[A-Z_]+)(?: with `[^`]+`)?, (?P<no>not )?recorded\.[^\n]*(?:\n +//[^\n]*)*"
    r"\n +ERROR_REASON_(?P<reason>[A-Z_]+) = "
)
DOCUMENT_ROW = re.compile(
    r"^\| `(?P<reason>[A-Z_]+)` \| `(?P<code>[A-Z_]+)` \| (?P<recorded>yes|no) \|(?P<metadata>[^|]*)\|",
    re.MULTILINE,
)


def in_proto_comments() -> dict[str, tuple[str, bool]]:
    """Code and whether recorded, by reason."""
    text = (PROJECT / "proto/tongdui/type/v1/error_reason.proto").read_text()
    return {it["reason"]: (it["code"], not it["no"]) for it in PROTO_COMMENT.finditer(text)}


def in_document() -> dict[str, tuple[str, bool]]:
    text = (PROJECT / "docs/errors.md").read_text()
    rows = list(DOCUMENT_ROW.finditer(text))
    assert len({it["reason"] for it in rows}) == len(rows), "a reason has two rows"
    return {it["reason"]: (it["code"], it["recorded"] == "yes") for it in rows}


@pytest.mark.parametrize(
    ("where", "listed"),
    [
        ("the hub's codes", set(CODES)),
        ("the hub's messages", set(MESSAGES) | OWN_MESSAGE),
        ("the proto's comments", set(in_proto_comments())),
        ("docs/errors.md", set(in_document())),
    ],
)
def test_every_place_lists_the_reasons_of_the_contract(where: str, listed: set[str]) -> None:
    assert listed == PROTO, where


def test_the_rules_use_reasons_of_the_contract() -> None:
    assert {reason.value for reason in Reason} < PROTO


def test_code_and_record_are_the_same_in_contract_and_document() -> None:
    assert in_document() == in_proto_comments()


def test_the_hub_sends_the_code_of_the_contract() -> None:
    assert {reason: code for reason, (code, _) in in_proto_comments().items()} == {
        reason: code.name for reason, code in CODES.items()
    }


def test_what_the_rules_record_is_what_the_contract_says() -> None:
    documented = in_proto_comments()

    recorded = {reason.value for reason in Reason if reason not in UNRECORDED}

    assert recorded == {reason for reason, (_, is_recorded) in documented.items() if is_recorded}
