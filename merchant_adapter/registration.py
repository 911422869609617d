"""A new key's proof of possession, as a file to hand to the operator."""

import json
from dataclasses import dataclass
from typing import Self

from merchant_adapter.json_object import JsonObject, Unreadable, to_base64url
from merchant_adapter.keys import Key, verifies
from tongdui.signing import SignatureMalformed, key_id, registration_text

FORMAT = "tongdui-key-registration-v1"


@dataclass(frozen=True, slots=True)
class Registration:
    """What `PartnersService.RegisterKey` needs of a new key; nothing in it is secret.

    Attributes:
        audience: the hub it is for.
        owner, holder: the partner or office, and the person who keeps the key (empty for a machine).
        public_key: 32 bytes.
        challenge: the hub's 32 bytes.
        proof: the new key's signature over the registration text, 64 bytes.
    """

    audience: str
    owner: str
    holder: str
    public_key: bytes
    challenge: bytes
    proof: bytes

    @classmethod
    def of(cls, key: Key, audience: str, challenge: bytes) -> Self:
        """Signs the hub's challenge with the new key; raises SignatureMalformed naming a bad argument."""
        text = registration_text(audience, key.owner, key.holder, key.public_key, challenge)
        return cls(audience, key.owner, key.holder, key.public_key, challenge, key.sign(text))

    @property
    def key_id(self) -> str:
        """The name the key will have."""
        return key_id(self.owner, self.public_key)

    def proves(self) -> bool:
        """Whether the proof verifies; raises SignatureMalformed where a part is out of form."""
        text = registration_text(self.audience, self.owner, self.holder, self.public_key, self.challenge)
        return verifies(self.public_key, self.proof, text)

    def to_json(self) -> str:
        """One JSON object. `from_json` gives the same value back."""
        fields = {
            "format": FORMAT,
            "key_id": self.key_id,
            "audience": self.audience,
            "owner": self.owner,
            "holder": self.holder,
            "public_key": to_base64url(self.public_key),
            "challenge": to_base64url(self.challenge),
            "proof": to_base64url(self.proof),
        }
        return json.dumps(fields, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Reads what `to_json` wrote; raises Unreadable naming the field at fault or a proof that fails."""
        fields = JsonObject.parse(text, "registration")
        fields.expect("format", FORMAT)
        found = cls(
            audience=fields.text("audience"),
            owner=fields.text("owner"),
            holder=fields.text("holder"),
            public_key=fields.octets("public_key"),
            challenge=fields.octets("challenge"),
            proof=fields.octets("proof"),
        )
        try:
            proven = found.proves()
        except SignatureMalformed as error:
            raise Unreadable(f"registration: {error}") from error
        if not proven:
            raise Unreadable("registration: proof: does not verify")
        fields.expect("key_id", found.key_id)
        return found
