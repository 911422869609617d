"""The small JSON files an adapter reads and writes: keys, registrations, receipts. Bytes are in base64url."""

import base64
import binascii
import json
from typing import Any

_OTHER_SPELLING = "not the one spelling of these bytes"


class Unreadable(ValueError):
    """A stored text is not what it should be; the message names its source and the field at fault."""


class JsonObject:
    """The fields of one JSON object; each reading raises Unreadable naming the field it failed on."""

    def __init__(self, fields: Any, source: str) -> None:
        """`source` is what the messages call the text: a file's path, or what it holds."""
        if not isinstance(fields, dict):
            raise Unreadable(f"{source}: expected a JSON object")
        self._fields: dict[str, Any] = fields
        self._source = source

    @classmethod
    def parse(cls, text: str | bytes, source: str) -> "JsonObject":
        """Reads a text from anywhere; raises Unreadable for what is not one JSON object."""
        try:
            return cls(json.loads(text), source)
        except RecursionError as error:
            raise Unreadable(f"{source}: nested too deeply") from error
        except ValueError as error:
            if isinstance(error, Unreadable):
                raise
            raise Unreadable(f"{source}: not JSON") from error

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def text(self, name: str, default: str | None = None) -> str:
        """A text; without `default` it must be there."""
        value = self._fields.get(name, default)
        if not isinstance(value, str):
            raise Unreadable(f"{self._source}: {name}: expected text")
        return value

    def octets(self, name: str) -> bytes:
        """Bytes."""
        try:
            return from_base64url(self.text(name))
        except binascii.Error as error:
            raise Unreadable(f"{self._source}: {name}: expected base64url") from error

    def entries(self, name: str) -> tuple[tuple[str, str], ...]:
        """An object of texts, in its order."""
        value = self._fields.get(name)
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
            raise Unreadable(f"{self._source}: {name}: expected an object of texts")
        return tuple(value.items())

    def whole(self, name: str) -> int:
        """A whole number."""
        value = self._fields.get(name)
        if type(value) is not int:
            raise Unreadable(f"{self._source}: {name}: expected a whole number")
        return value

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._fields.get(name)
        if not isinstance(value, bool):
            raise Unreadable(f"{self._source}: {name}: expected true or false")
        return value

    def child(self, name: str) -> "JsonObject":
        """An object."""
        return JsonObject(self._fields.get(name), f"{self._source}: {name}")

    def objects(self, name: str) -> "list[JsonObject]":
        """A list of objects."""
        value = self._fields.get(name)
        if not isinstance(value, list):
            raise Unreadable(f"{self._source}: {name}: expected a list")
        return [JsonObject(one, f"{self._source}: {name}[{at}]") for at, one in enumerate(value)]

    def pairs(self, name: str) -> tuple[tuple[str, str], ...]:
        """A list of pairs of texts."""
        value = self._fields.get(name)
        if not isinstance(value, list) or not all(_is_pair(one) for one in value):
            raise Unreadable(f"{self._source}: {name}: expected pairs of texts")
        return tuple((first, second) for first, second in value)

    def expect(self, name: str, text: str) -> None:
        """Raises Unreadable unless the field is exactly this text."""
        if self._fields.get(name) != text:
            raise Unreadable(f"{self._source}: {name}: expected {text}")


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(one, str) for one in value)


def to_base64url(octets: bytes) -> str:
    """Base64url without padding (RFC 4648, 5)."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def from_base64url(text: str) -> bytes:
    """The bytes of base64url, padded or not; raises binascii.Error for anything else.

    Another spelling of the same bytes (unused bits that are not zero) is refused: nobody writes one, and a stored
    file that was changed has to be seen.
    """
    bare = text.rstrip("=")
    octets = _decoded(bare + "=" * (-len(bare) % 4), altchars=b"-_")
    if to_base64url(octets) != bare:
        raise binascii.Error(_OTHER_SPELLING)
    return octets


def from_base64(text: str) -> bytes:
    """The bytes of base64 with its padding (RFC 4648, 4), in its one spelling; raises binascii.Error."""
    octets = _decoded(text)
    if base64.b64encode(octets).decode("ascii") != text:
        raise binascii.Error(_OTHER_SPELLING)
    return octets


def _decoded(text: str, altchars: bytes | None = None) -> bytes:
    if not text.isascii():
        raise binascii.Error("not ASCII")  # for which b64decode raises another ValueError
    return base64.b64decode(text, altchars=altchars, validate=True)
