"""Quotes: prices that the hub promises under its signature and remembers nowhere."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import DecodeError
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from exchange.core.commands import Quote
from exchange.rpc.errors import InvalidField
from exchange.rpc.translate import from_timestamp, to_timestamp
from tongdui.exchange.v1 import quotes_pb2
from tongdui.signing import HUB_OWNER, key_id

_CONTEXT: Final = b"tongdui-quote-v1\n"
_SIGNATURE_BYTES: Final = 64


class Quoted(NamedTuple):
    """What a quote is for: exactly this member, partner (its code), operation and amount."""

    member_id: str
    partner: str
    operation: str
    amount: int


class QuoteBook:
    """Signs quotes with the hub's key, and checks those that come back."""

    def __init__(self, private_key: Ed25519PrivateKey, hub_keys: Mapping[str, bytes]) -> None:
        """`hub_keys` are the hub's public keys by id: another hub of this ledger may have signed."""
        self._private_key = private_key
        self._key_id = key_id(HUB_OWNER, private_key.public_key().public_bytes_raw())
        self._hub_keys = hub_keys

    def sign(self, quoted: Quoted, rate_version: int, expire_time: datetime) -> bytes:
        """The bytes of a new quote."""
        quote = quotes_pb2.Quote(
            quote_id=secrets.token_hex(16),
            member_id=quoted.member_id,
            partner_id=quoted.partner,
            operation=quoted.operation,
            amount=quoted.amount,
            rate_version=rate_version,
            expire_time=to_timestamp(expire_time),
        ).SerializeToString(deterministic=True)
        signature = self._private_key.sign(_CONTEXT + quote)
        signed = quotes_pb2.SignedQuote(quote=quote, key_id=self._key_id, signature=signature)
        return signed.SerializeToString(deterministic=True)

    def check(self, data: bytes, quoted: Quoted) -> Quote | None:
        """The quote in a command's field, None where it has none. Raises `InvalidField`."""
        if not data:
            return None
        try:
            signed = quotes_pb2.SignedQuote.FromString(data)
            public_key = self._hub_keys.get(signed.key_id)
            if public_key is None or len(signed.signature) != _SIGNATURE_BYTES:
                raise InvalidField("quote", "must be a quote of this hub")
            crypto_sign_open(signed.signature + _CONTEXT + signed.quote, public_key)
            quote = quotes_pb2.Quote.FromString(signed.quote)
        except (DecodeError, BadSignatureError) as malformed:
            raise InvalidField("quote", "must be a quote of this hub") from malformed
        if quoted != Quoted(quote.member_id, quote.partner_id, quote.operation, quote.amount):
            raise InvalidField("quote", "must be for this member, partner, operation and amount")
        return Quote(quote.quote_id, quote.rate_version, from_timestamp("quote", quote.expire_time))
