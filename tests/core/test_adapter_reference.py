"""The reference of the SDK is written by hand; these keep it whole."""

import dataclasses
import re
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

import merchant_adapter
from merchant_adapter import Hub, PointsAnswer, PointsCommand, Settlement, SyncHub, SyncSettlement
from merchant_adapter.points import POINTS_METHODS, PointsMethod

REFERENCE = (Path(__file__).parents[2] / "docs/sdk.md").read_text(encoding="utf-8")
ROWS = {row.split("`")[1]: row for row in REFERENCE.splitlines() if row.startswith("| `")}


def words(text: str) -> set[str]:
    """The names in the spans of code."""
    return {word for span in re.findall(r"`([^`]+)`", text) for word in re.findall(r"\w+", span)}


def own_fields(kind: type[Any], base: type[Any]) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)} - {
        field.name for field in dataclasses.fields(base)
    }


def test_every_published_name_is_in_the_reference() -> None:
    assert set(merchant_adapter.__all__) - words(REFERENCE) == set()


def test_both_clients_have_the_same_methods_and_the_reference_has_them_all() -> None:
    of_hub = {name for name in dir(Hub) if not name.startswith("_")}
    of_sync_hub = {name for name in dir(SyncHub) if not name.startswith("_")}

    assert of_hub == of_sync_hub
    assert of_hub - words(REFERENCE) - {"close"} == set()


def test_both_clients_of_settlement_have_the_same_methods_and_arguments_and_each_is_a_row() -> None:
    of_client = {name: it for name, it in vars(Settlement).items() if not name.startswith("_")}
    of_sync_client = {name: it for name, it in vars(SyncSettlement).items() if not name.startswith("_")}

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
