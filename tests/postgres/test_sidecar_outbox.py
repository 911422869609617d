"""A sidecar whose outbox is a PostgreSQL by URL: a till's sales and a shop's order, and a restart in between."""

from __future__ import annotations

from typing import Any

import psycopg

from tests.waiting import eventually
from tests.wire.shop_served import ORDER, Hub, shop
from tests.wire.sidecar_served import SALE, SilentLedger

SOLD: dict[str, Any] = SALE | {"request_id": "earn-1", "reference": "r-earn"}
BURNED: dict[str, Any] = SALE | {"request_id": "burn-1", "reference": "r-burn"}
AWAY: dict[str, Any] = SALE | {"request_id": "earn-2", "reference": "r-away"}


def test_an_earn_a_burn_and_an_order_go_through_a_sidecar_whose_outbox_is_in_postgresql(
    database_url: str,
) -> None:
    hub = Hub(SilentLedger())
    with shop(database_url, hub) as first:
        earned = first.caller.post("/v1/earn", SOLD, Prefer="wait=30")
        burned = first.caller.post("/v1/burn", BURNED, Prefer="wait=30")
        hub.is_away = True
        taken = [first.caller.post("/v1/earn", AWAY, Prefer="respond-async"), first.tell(ORDER)]

    hub.is_away = False
    with shop(database_url, hub) as second:
        eventually(lambda: hub.posted() == ["burn", "earn", "earn", "earn"])
        eventually(lambda: second.caller.get("/v1/outbox").body["waiting"] == 0)
        again = [second.caller.post(f"/v1/{kind}", body) for kind, body in (("earn", SOLD), ("burn", BURNED))]
        ready = second.caller.get("/readyz")
        told = second.tell(ORDER)
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT count(*) FROM tongdui_outbox.webhook_orders WHERE state = 'done'")
        done = rows.fetchone()

    assert [earned.status, burned.status, *(one.status for one in taken)] == [200, 200, 202, 200]
    assert [one.body for one in again] == [earned.body, burned.body]
    assert (ready.status, ready.body["outbox"]) == (200, "ok")
    assert (told.body["outcome"], done) == ("duplicate", (1,))
    assert len(hub.ledger.decided) == 4
