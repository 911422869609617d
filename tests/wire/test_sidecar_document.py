"""Every route answers as its OpenAPI document says, whatever it is sent: requests that schemathesis makes up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import Phase, given
from schemathesis import Case, CheckFunction, GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from merchant_adapter.sidecar import imports, webhooks
from merchant_adapter.sidecar.context import Context, Mounted
from merchant_adapter.webhooks.order_event import OrderPolicy
from merchant_adapter.webhooks.platform import GenericPlatform
from tests.property.profiles import tries
from tests.wire.adapter_fake_hub import fake_hub
from tests.wire.sidecar_served import TOKEN, SilentLedger, sidecar

SHOWN = {"Authorization": f"Bearer {TOKEN}"}
WITHOUT_INPUT = ("GET /healthz", "GET /readyz")

# A JSON schema cannot say that 5.0 is no integer here, or that exactly one of three amounts is wanted.
TOO_STRICT: list[CheckFunction] = [positive_data_acceptance]

# What is wrong with a parameter may be lost on its way into the URL, such as a name with an empty list of values.
TOO_STRICT_OF_URLS: list[CheckFunction] = [*TOO_STRICT, negative_data_rejection]


def all_parts(context: Context) -> list[Mounted]:
    policy = OrderPolicy(currency="CNY", store_id="s", terminal_id="t")
    platform = GenericPlatform((b"secret of the tests and nobody else",))
    return [imports.mounted(context), webhooks.mounted(context, policy, platform)]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The document as a sidecar serves it, and the sidecar behind it."""
    load_all_checks()
    ledger = SilentLedger()
    with (
        fake_hub(ledger.reply) as hub,
        sidecar(hub.address, tmp_path_factory.mktemp("document") / "o.db", mount=all_parts) as served,
    ):
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{served.address[1]}/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_answer_is_undocumented_malformed_or_the_servers_fault(
    document: Any, mode: GenerationMode
) -> None:
    seen: Counter[str] = Counter()

    for found in document.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and operation.label in WITHOUT_INPUT:
            continue

        @tries(2, phases=[Phase.generate])
        @given(case=operation.as_strategy(generation_mode=mode))
        def conforms(case: Case[Any]) -> None:
            answer = case.call(headers=SHOWN)
            seen[case.operation.label] += 1
            without = TOO_STRICT if case.method == "POST" else TOO_STRICT_OF_URLS
            case.validate_response(answer, headers=SHOWN, excluded_checks=without)

        conforms()

    left_out = WITHOUT_INPUT if mode is GenerationMode.NEGATIVE else ()
    assert len(seen) == len(document.raw_schema["paths"]) - len(left_out)


def test_the_reference_names_every_route(document: Any) -> None:
    reference = (Path(__file__).parents[2] / "docs/sdk.md").read_text()

    missing = [path for path in document.raw_schema["paths"] if f"{path}`" not in reference]

    assert not missing
