"""What each signed text may look like: one full-match pattern per value, nothing looser anywhere.

RFC 9421 and RFC 8941 allow many spellings of the same signature input. This profile allows one, so that
the text a verifier rebuilds is the text that was signed, and two verifiers never read one entry two ways.

The base64 patterns end in the few letters whose unused bits are zero (RFC 4648, 3.5). A text that matches
is therefore the only base64 of its octets: it re-encodes to itself without anybody having to try.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

MAX_ENTRY_BYTES = 1024
"""Longest value of a signed metadata entry, in bytes (all of them are ASCII)."""

_OWNER = r"[a-z0-9][a-z0-9-]{0,31}"
_LAST_OF_32_OCTETS = "[AEIMQUYcgkosw048]"
_THUMBPRINT = rf"[A-Za-z0-9_-]{{42}}{_LAST_OF_32_OCTETS}"
_SECONDS = r"(0|[1-9][0-9]{0,11})"
_DIGEST = rf"sha-256=:[A-Za-z0-9+/]{{42}}{_LAST_OF_32_OCTETS}=:"
_SIGNATURE = r"([A-Za-z0-9+/]{85}[AQgw]==)"
_REQUEST_PARAMS = (
    r'\("@method" "@path" "content-digest" "tongdui-audience"\)'
    rf';created={_SECONDS};expires={_SECONDS};keyid="({_OWNER}\.{_THUMBPRINT})";tag="tongdui-v1"'
)
_RECEIPT_PARAMS = (
    r'\("content-digest" "@path";req "content-digest";req "signature-input";req;key="td"\)'
    rf';created={_SECONDS};keyid="(hub\.{_THUMBPRINT})";tag="tongdui-receipt-v1"'
)
_SETTLEMENT_PARAMS = (
    r'\("content-digest" "@path";req "content-digest";req "signature-input";req;key="td"\)'
    rf';created={_SECONDS};keyid="((?!hub\.){_OWNER}\.{_THUMBPRINT})";tag="tongdui-settlement-receipt-v1"'
)

OWNER = re.compile(_OWNER)
KEY_ID = re.compile(rf"({_OWNER})\.({_THUMBPRINT})")
SECONDS = re.compile(_SECONDS)
AUDIENCE = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,127}")
PATH = re.compile(r"/[A-Za-z_][A-Za-z0-9_.]{0,255}/[A-Za-z_][A-Za-z0-9_]{0,127}")
DIGEST = re.compile(_DIGEST)
REQUEST_PARAMS = re.compile(_REQUEST_PARAMS)
REQUEST_INPUT = re.compile(f"td=({_REQUEST_PARAMS})")
REQUEST_SIGNATURE = re.compile(f"td=:{_SIGNATURE}:")
HOLDER = re.compile(r"(?:[!-~](?:[ -~]{0,62}[!-~])?)?")
COMMAND_KIND = re.compile(r"[a-z][a-z0-9_]{0,63}")


class ReceiptForm:
    """How one signer writes its receipts: the label of its entries, and the parameters it may sign under."""

    def __init__(self, label: str, tag: str, params: str) -> None:
        """`params` is the pattern of a whole `signature-input` after its label, which ends in `tag`."""
        self.label = label
        self.tag = tag
        self.params = re.compile(params)
        self.input = re.compile(f"{label}=({params})")
        self.signature = re.compile(f"{label}=:{_SIGNATURE}:")

    def __repr__(self) -> str:
        return f"ReceiptForm({self.label})"


HUB_RECEIPT = ReceiptForm("hub", "tongdui-receipt-v1", _RECEIPT_PARAMS)
"""The hub's, by a key `hub.<thumbprint>`."""

SETTLEMENT_RECEIPT = ReceiptForm("settlement", "tongdui-settlement-receipt-v1", _SETTLEMENT_PARAMS)
"""Settlement's, by its own key, which is never one of the hub's."""


class SignatureMalformed(ValueError):
    """A signed text is missing, repeated, or outside the grammar; no clock and no retry can make it right.

    `detail` names the entry and the rule and repeats nothing the sender wrote, so it may be logged.
    On the wire it is `SIGNATURE_INVALID`, without the detail.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def matched(pattern: re.Pattern[str], name: str, value: str) -> re.Match[str]:
    """The full match of `value`; raises SignatureMalformed naming `name` if there is none."""
    found = pattern.fullmatch(value)
    if found is None:
        raise SignatureMalformed(f"{name}: not of the required form")
    return found


@lru_cache(maxsize=1024)
def matched_often(pattern: re.Pattern[str], name: str, value: str) -> re.Match[str]:
    """The same as `matched`, for texts that many calls share: those of one second, one path, one hub."""
    return matched(pattern, name, value)


def checked_audience(text: str) -> str:
    """`text` if it may name a hub (1 to 128 of `a-z 0-9 . _ : / -`), else raises SignatureMalformed."""
    return matched_often(AUDIENCE, "tongdui-audience", text)[0]


def checked_owner(text: str) -> str:
    """`text` if it may own keys (1 to 32 of `a-z 0-9 -`), else raises SignatureMalformed."""
    return matched(OWNER, "owner", text)[0]


def sole_entries(metadata: Iterable[tuple[str, str | bytes]], names: tuple[str, ...]) -> list[str]:
    """The values of `names`, in that order, out of call metadata that may hold any other entries too.

    Raises SignatureMalformed for a name that is absent, that comes twice (even with equal values: two
    readers could choose differently), whose value is binary or longer than MAX_ENTRY_BYTES.
    """
    found: dict[str, str] = {}
    for name, value in metadata:
        if name not in names:
            continue
        if name in found:
            raise SignatureMalformed(f"{name}: given more than once")
        if not isinstance(value, str):
            raise SignatureMalformed(f"{name}: binary, expected text")
        if len(value) > MAX_ENTRY_BYTES:
            raise SignatureMalformed(f"{name}: longer than {MAX_ENTRY_BYTES} bytes")
        found[name] = value
    for name in names:
        if name not in found:
            raise SignatureMalformed(f"{name}: missing")
    return [found[name] for name in names]
