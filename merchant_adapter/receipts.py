"""Evidence: a signed request, the hub's answer and the hub's signature over both, as they went by."""

import json
from dataclasses import dataclass
from typing import Any, Self

from merchant_adapter.json_object import JsonObject, to_base64url

Entries = tuple[tuple[str, str], ...]
"""Call metadata: (name, value) pairs in the order sent."""

FORMAT = "tongdui-receipt-evidence-v1"


@dataclass(frozen=True, slots=True)
class Receipt:
    """All that somebody needs to check an answer offline, with the hub's public keys and nothing else.

    The value proves nothing by being there: `verify_receipt` does.

    Attributes:
        path: the full gRPC method, `/package.Service/Method`.
        request: the message bytes as signed and sent.
        request_entries: the four metadata entries they were signed with.
        answer: the response message's bytes, or the `google.rpc.Status` bytes of a refusal.
        answer_entries: the three entries of the hub's signature.
    """

    path: str
    request: bytes
    request_entries: Entries
    answer: bytes
    answer_entries: Entries

    def to_json(self) -> str:
        """One JSON object on one line. `from_json` gives the same value back."""
        fields: dict[str, Any] = {
            "format": FORMAT,
            "path": self.path,
            "request": to_base64url(self.request),
            "request_entries": dict(self.request_entries),
            "answer": to_base64url(self.answer),
            "answer_entries": dict(self.answer_entries),
        }
        return json.dumps(fields)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Reads what `to_json` wrote; raises Unreadable naming the field that is not of its form."""
        fields = JsonObject.parse(text, "receipt")
        fields.expect("format", FORMAT)
        return cls(
            path=fields.text("path"),
            request=fields.octets("request"),
            request_entries=fields.entries("request_entries"),
            answer=fields.octets("answer"),
            answer_entries=fields.entries("answer_entries"),
        )
