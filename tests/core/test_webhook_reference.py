"""The reference of webhooks and imports is written by hand; these keep it whole."""

import dataclasses
import re
from pathlib import Path

import merchant_adapter.webhooks
from merchant_adapter.webhooks import InboxStatus, OrderEvent, OrderPolicy, OrderRefund, OrderState, Received

REFERENCE = (Path(__file__).parents[2] / "docs/sdk.md").read_text(encoding="utf-8")
SECTION = REFERENCE.partition("\n## Webhooks\n")[2].partition("\n## ")[0]
WORDS = set(re.findall(r"\w+", SECTION))


def test_every_published_name_of_webhooks_is_in_the_reference() -> None:
    assert set(merchant_adapter.webhooks.__all__) - WORDS == set()


def test_every_field_setting_and_state_is_in_the_reference() -> None:
    shown = [OrderEvent, OrderRefund, OrderPolicy, InboxStatus]
    states = {it.value for kind in (OrderState, Received) for it in kind}

    missing = {field.name for kind in shown for field in dataclasses.fields(kind)} | states

    assert missing - WORDS == set()
