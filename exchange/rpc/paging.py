"""Pages of lists. A token is the key of the last row in base64url; clients treat it as opaque."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Final, TypeVar

from exchange.rpc.errors import InvalidField

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1000

_MAX_TOKEN: Final = 512
_MAX_NUMBER: Final = 2**63 - 1
_Key = int | str
_Row = TypeVar("_Row")


def page_limit(page_size: int) -> int:
    """Rows of a page: 100 where not set. Raises `InvalidField`."""
    if not 0 <= page_size <= MAX_PAGE:
        raise InvalidField("page_size", f"must be 1 to {MAX_PAGE}, or not set")
    return page_size or DEFAULT_PAGE


def to_token(*key: _Key) -> str:
    """The token of the page after the row with this key."""
    return base64.urlsafe_b64encode(json.dumps(key, separators=(",", ":")).encode()).rstrip(b"=").decode()


def from_token(token: str, *kinds: type[_Key]) -> list[_Key] | None:
    """The key in a token, of these types; None where there is no token. Raises `InvalidField`."""
    if not token:
        return None
    try:
        key = json.loads(base64.b64decode(token[:_MAX_TOKEN] + "=" * (-len(token) % 4), b"-_"))
    except (binascii.Error, ValueError, RecursionError) as malformed:
        raise _not_ours() from malformed
    if not isinstance(key, list) or [type(part) for part in key] != list(kinds):
        raise _not_ours()
    if not all(_is_plain(part) for part in key) or to_token(*key) != token:
        raise _not_ours()
    return key


def number_in(token: str) -> int | None:
    """The number in a token of a list that is ordered by one."""
    key = from_token(token, int)
    return None if key is None else int(key[0])


def text_in(token: str) -> str:
    """The text in a token of a list that is ordered by one; empty, which comes first, without a token."""
    key = from_token(token, str)
    return "" if key is None else str(key[0])


def split_page(rows: Sequence[_Row], limit: int) -> tuple[Sequence[_Row], _Row | None]:
    """The rows of a page out of up to `limit` + 1, and its last one where another page follows."""
    return (rows[:limit], rows[limit - 1]) if len(rows) > limit else (rows, None)


def _is_plain(part: _Key) -> bool:
    return part.isprintable() if isinstance(part, str) else 0 <= part <= _MAX_NUMBER


def _not_ours() -> InvalidField:
    return InvalidField("page_token", "must be the next_page_token of the page before")
