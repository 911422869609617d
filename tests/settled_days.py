"""A ledger of three settled days behind the commands of `tongdui-settle`, with their environment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from settlement.command_line.bundle import ROWS_SUFFIX, read_manifest, write_document, write_manifest
from settlement.core.certificate import canonical_json, document_bytes, signed_text
from settlement.daily_run import DailyRun
from settlement.rpc.keys import PrivateKey
from settlement.rpc.receipts import verify_close
from settlement.store import feed
from settlement.store.engine import exclusive_run, open_engine
from tests.settlement_hub import (
    AUDIENCE,
    DAY_1,
    DAY_2,
    DAY_3,
    HUB_KEY,
    HUB_KEY_ID,
    HUB_KEYS,
    PeerHub,
    PostedLedger,
)
from tongdui.signing import public_key_text

SIGNER = PrivateKey("operator", b"s" * 32)
SETTLEMENT_KEY = f"{SIGNER.key_id}={SIGNER.public_key_text}"
VERIFY = partial(verify_close, hub_keys=HUB_KEYS, audience=AUDIENCE)
DAYS = (DAY_1, DAY_2, DAY_3)


@dataclass(frozen=True, slots=True)
class SettledDays:
    """Three days: the first of the example; a burn and a refund; nothing."""

    ledger: PostedLedger
    url: str
    directory: Path


@contextmanager
def settled_days(
    url: str, directory: Path, monkeypatch: pytest.MonkeyPatch, through: int = 3
) -> Iterator[SettledDays]:
    """The days up to number `through` of them certified, with the commands' environment set."""
    ledger = PostedLedger.open(url)
    ledger.first_day_of_the_example()
    ledger.earn(DAY_2, "c", 2_000)
    ledger.burn(DAY_2, "a", "c", 1_250)
    ledger.refund(DAY_2, "b", "a", 300)
    write_hub_keys(directory, monkeypatch, url)
    with ledger.connection:
        settle(url, ledger, DAYS[:through])
        yield SettledDays(ledger, url, directory)


def write_hub_keys(directory: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The environment of the commands: database and pinned hub keys."""
    hub_keys = directory / "hub-keys.json"
    hub_keys.write_text(json.dumps({HUB_KEY_ID: public_key_text(bytes(HUB_KEY.verify_key))}))
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("TONGDUI_HUB_KEYS", str(hub_keys))


def settle(url: str, ledger: PostedLedger, days: tuple[date, ...]) -> None:
    """Closes, nets and certifies days, in settlement's own name."""
    engine = open_engine(url)
    with exclusive_run(engine) as connection:
        with connection.begin():
            read = feed.read_ledger(connection)
        run = DailyRun(connection, read)
        for day in DAYS:
            if day in days:
                run.close(day, PeerHub(ledger), VERIFY)
                run.net(day)
                run.certify(day, SIGNER, VERIFY)
    engine.dispose()


def listed_anew(bundle: Path) -> None:
    """The manifest and the row marks as somebody would write them who wants a changed bundle to be believed."""
    content = read_manifest(bundle).content
    facts = {name: value for name, value in content.items() if name not in ("format", "files")}
    names = [str(it["name"]) for it in content["files"] if not str(it["name"]).endswith(ROWS_SUFFIX)]
    for name in names:
        raw = (bundle / name).read_bytes()
        if name.endswith(".jsonl"):
            marks = (sha256(line).digest()[:4] for line in raw.splitlines(keepends=True))
            (bundle / (name + ROWS_SUFFIX)).write_bytes(b"".join(marks))
        else:
            write_document(bundle, name, raw)
    write_manifest(bundle, names, facts)


def sign_anew(bundle: Path, content: dict[str, Any], key: PrivateKey = SIGNER) -> None:
    """Another content for a bundle's certificate, signed by a key, under a new manifest."""
    raw = canonical_json(content)
    document = document_bytes(raw, key.key_id, key.public_key_text, key.sign(signed_text(raw)))
    (bundle / "certificate.json").write_bytes(document)
    listed_anew(bundle)
