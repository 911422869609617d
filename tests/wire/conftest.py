"""What tests of the wire have in common."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from merchant_adapter.outbox import Outbox


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    """An empty outbox in a file of the test's own."""
    with Outbox.open(tmp_path / "outbox.db") as opened:
        yield opened
