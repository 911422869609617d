"""What the journal keeps of a signed call, beside what it decided."""

from __future__ import annotations

from typing import NamedTuple


class Call(NamedTuple):
    """The raw signed bytes of one call: with the archived key they prove who asked for what."""

    partner_id: int
    key_id: str
    path: str
    signature_input: str
    signature: bytes
    body: bytes
