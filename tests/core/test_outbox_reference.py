"""The reference of the outbox is written by hand; these keep it whole."""

import dataclasses
import re
from pathlib import Path

import merchant_adapter.outbox
from merchant_adapter.outbox import Archived, DeadLetter, Limits, Outbox, OutboxStatus, Progress, RetryPolicy

REFERENCE = (Path(__file__).parents[2] / "docs/sdk.md").read_text(encoding="utf-8")
SECTION = REFERENCE.partition("## The outbox")[2].partition("\n## ")[0]
WORDS = {word for span in re.findall(r"`([^`\n]+)`", SECTION) for word in re.findall(r"\w+", span)}


def test_every_published_name_of_the_outbox_is_in_the_reference() -> None:
    assert set(merchant_adapter.outbox.__all__) - WORDS == set()


def test_every_method_of_an_outbox_is_in_the_reference() -> None:
    methods = {name for name in vars(Outbox) if not name.startswith("_")}

    assert methods - WORDS == {"close"}


def test_every_setting_and_figure_is_in_the_reference() -> None:
    shown = [Limits, RetryPolicy, Progress, OutboxStatus]

    missing = {field.name for kind in shown for field in dataclasses.fields(kind)} - WORDS

    assert missing == set()
    assert {"reason", "attempts", "is_final"} <= {
        field.name for field in dataclasses.fields(DeadLetter)
    } & WORDS
    assert {"receipt", "batch_index"} <= {field.name for field in dataclasses.fields(Archived)} & WORDS
