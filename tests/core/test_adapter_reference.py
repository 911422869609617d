"""The reference of the SDK is written by hand; these keep it whole."""

import argparse
import dataclasses
import importlib
import pkgutil
import re
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

import merchant_adapter
from merchant_adapter import Hub, PointsAnswer, PointsCommand, Settlement, SyncHub, SyncSettlement
from merchant_adapter.__main__ import _parser
from merchant_adapter.outbox import Dispatcher, Outbox
from merchant_adapter.points import POINTS_METHODS, PointsMethod
from merchant_adapter.till import Resolving, SyncTill, Till

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "sdk.md").read_text(encoding="utf-8")
ROWS = {row.split("`")[1]: row for row in REFERENCE.splitlines() if row.startswith("| `")}


def words(text: str) -> set[str]:
    """The names in the spans of code."""
    return {word for span in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"\w+", span)}


def own_fields(kind: type[Any], base: type[Any]) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)} - {
        field.name for field in dataclasses.fields(base)
    }


def published() -> dict[str, set[str]]:
    """The names that each part of the package publishes: those in an `__all__`."""
    parts = [
        name
        for _, name, is_package in pkgutil.walk_packages(merchant_adapter.__path__, "merchant_adapter.")
        if name != "merchant_adapter.__main__" and (is_package or name.count(".") == 1)
    ]
    found = {
        name: vars(importlib.import_module(name)).get("__all__") for name in ("merchant_adapter", *parts)
    }
    return {name: set(names) for name, names in found.items() if names}


def test_every_published_name_is_in_the_reference() -> None:
    names = published()

    missing = {part: sorted(of_part - words(REFERENCE)) for part, of_part in names.items()}

    assert {part: of_part for part, of_part in missing.items() if of_part} == {}
    assert {"merchant_adapter", "merchant_adapter.outbox"} <= names.keys()


def test_the_methods_and_fields_of_till_and_outbox_are_in_the_reference() -> None:
    classes = (Till, SyncTill, Resolving, Outbox, Dispatcher)

    missing = {f"{it.__name__}.{name}" for it in classes for name in own_names(it) - words(REFERENCE)}

    assert missing - {"Outbox.close"} == set()


def own_names(kind: type[Any]) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_") and name.islower()}


def test_every_command_of_the_command_line_is_explained() -> None:
    guides = "".join((DOCS / name).read_text(encoding="utf-8") for name in ("sdk.md", "integrate.md"))
    (choices,) = (it.choices for it in _parser()._actions if isinstance(it, argparse._SubParsersAction))

    missing = [
        name for name in choices if re.search(rf"(tongdui-adapter|`){name}\b| {name} ", guides) is None
    ]

    assert missing == []


def test_both_clients_have_the_same_methods_and_the_reference_has_them_all() -> None:
    of_hub = {name for name in dir(Hub) if not name.startswith("_")}
    of_sync_hub = {name for name in dir(SyncHub) if not name.startswith("_")}

    assert of_hub == of_sync_hub
    assert of_hub - words(REFERENCE) - {"close"} == set()


def public_parts(client: type) -> dict[str, Any]:
    return {name: getattr(client, name) for name in dir(client) if not name.startswith("_")}


def test_both_clients_of_settlement_have_the_same_methods_and_arguments_and_each_is_a_row() -> None:
    of_client, of_sync_client = public_parts(Settlement), public_parts(SyncSettlement)

    assert of_client.keys() == of_sync_client.keys()
    for name in of_client.keys() - {"connect", "close"}:
        assert name in ROWS
        assert signature(of_client[name]) == signature(of_sync_client[name]), name


@pytest.mark.parametrize("method", POINTS_METHODS, ids=[one.name for one in POINTS_METHODS])
def test_each_command_is_a_row_with_its_fields(method: PointsMethod[Any]) -> None:
    row = ROWS[method.name]
    of_command = own_fields(method.command, PointsCommand)

    assert {method.command.__name__, method.answer.__name__} <= words(row)
    assert words(row) >= (of_command - {"original_request_id"}) | own_fields(method.answer, PointsAnswer)
    assert ("follows" in row) == ("original_request_id" in of_command)
