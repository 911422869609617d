"""PartnersService: partners and keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from exchange.registrar import Answered, Challenge, NewKey, NewPartner, Registrar
from exchange.rpc.calls import ANYONE, Incoming, Method
from exchange.rpc.directory import OPERATOR_OWNER, Directory
from exchange.rpc.errors import InvalidField, error
from exchange.rpc.lanes import Lanes
from exchange.rpc.paging import page_limit, split_page, text_in, to_token
from exchange.rpc.registering import answered, is_staff, to_actor, to_write
from exchange.rpc.signatures import Caller
from exchange.rpc.translate import check_range, check_text, parse, to_timestamp
from exchange.store.reads.pages import Key, Partner, list_keys, list_partners
from exchange.store.reads.snapshots import Snapshots
from tongdui.exchange.v1 import partners_service_pb2 as messages
from tongdui.signing import CHALLENGE_BYTES, HUB_OWNER, SignatureMalformed, checked_owner
from tongdui.signing.grammar import HOLDER

SERVICE: Final = "tongdui.exchange.v1.PartnersService"

RESERVED: Final = frozenset({HUB_OWNER, OPERATOR_OWNER, "pool"})
MAX_NAME: Final = 100
MAX_REASON: Final = 200
MAX_KEY_ID: Final = 128
MAX_VALIDITY_DAYS: Final = 366
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_OPERATOR: Final = frozenset({"operator"})
_OWNERS: Final = frozenset({"operator", "partner"})

_ROLES: Final[dict[str, messages.Role.ValueType]] = {
    "partner": messages.ROLE_PARTNER,
    "operator": messages.ROLE_OPERATOR,
    "finance_maker": messages.ROLE_FINANCE_MAKER,
    "finance_checker": messages.ROLE_FINANCE_CHECKER,
    "auditor": messages.ROLE_AUDITOR,
}
_ROLE_NAMES: Final = {number: name for name, number in _ROLES.items() if name != "partner"}
_STATES: Final[dict[str, messages.Key.State.ValueType]] = {
    "registered": messages.Key.STATE_REGISTERED,
    "active": messages.Key.STATE_ACTIVE,
    "revoked": messages.Key.STATE_REVOKED,
}


class PartnersService:
    """Creates and lists partners; registers, approves, revokes and lists keys."""

    def __init__(
        self, registrar: Registrar, snapshots: Snapshots, directory: Directory, lanes: Lanes
    ) -> None:
        """Takes who writes, who reads, the directory to renew when a change is made, and where to work."""
        self._lanes = lanes
        self._registrar = registrar
        self._snapshots = snapshots
        self._directory = directory

    def methods(self) -> tuple[Method, ...]:
        """The rpcs of the service."""
        return (
            Method("CreatePartner", _OPERATOR, self._create_partner, is_write=True),
            Method("ListPartners", ANYONE, self._list_partners, is_write=False),
            Method("CreateKeyChallenge", _OWNERS, self._create_key_challenge, is_write=True),
            Method("RegisterKey", _OWNERS, self._register_key, is_write=True),
            Method("ApproveKey", _OPERATOR, self._approve_key, is_write=True),
            Method("RevokeKey", _OWNERS, self._revoke_key, is_write=True),
            Method("ListKeys", ANYONE, self._list_keys, is_write=False),
        )

    async def _create_partner(self, incoming: Incoming) -> bytes:
        request = parse(messages.CreatePartnerRequest, incoming.body)
        write = to_write("create_partner", request.request_id, request, incoming)
        new = to_new_partner(request)
        answer = await self._answered(incoming, lambda: self._registrar.create_partner(write, new, _created))
        await self._directory.renew()
        return answer

    async def _list_partners(self, incoming: Incoming) -> bytes:
        request = parse(messages.ListPartnersRequest, incoming.body)
        after, limit = text_in(request.page_token), page_limit(request.page_size)
        full = is_staff(incoming.caller)
        return await self._lanes.reads.run(lambda: self._partners_page(after, limit, full=full))

    def _partners_page(self, after: str, limit: int, *, full: bool) -> bytes:
        rows = self._snapshots.read(lambda it: list_partners(it, after, limit + 1))
        page, last = split_page(rows, limit)
        return messages.ListPartnersResponse(
            partners=[from_partner(row) if full else _name_only(row) for row in page],
            next_page_token=to_token(last.code) if last else "",
        ).SerializeToString()

    async def _create_key_challenge(self, incoming: Incoming) -> bytes:
        request = parse(messages.CreateKeyChallengeRequest, incoming.body)
        write = to_write("create_key_challenge", request.request_id, request, incoming)
        owner = to_owner(request.owner, incoming.caller)
        holder = to_holder(request.holder, owner)
        return await self._answered(
            incoming, lambda: self._registrar.create_key_challenge(write, owner, holder, _challenged)
        )

    async def _register_key(self, incoming: Incoming) -> bytes:
        request = parse(messages.RegisterKeyRequest, incoming.body)
        write = to_write("register_key", request.request_id, request, incoming)
        new = to_new_key(request, incoming.caller)
        actor = to_actor(incoming.caller)
        return await self._answered(
            incoming, lambda: self._registrar.register_key(write, actor, new, _registered)
        )

    async def _approve_key(self, incoming: Incoming) -> bytes:
        request = parse(messages.ApproveKeyRequest, incoming.body)
        write = to_write("approve_key", request.request_id, request, incoming)
        key_id = check_text("key_id", request.key_id, MAX_KEY_ID)
        actor = to_actor(incoming.caller)
        answer = await self._answered(
            incoming, lambda: self._registrar.approve_key(write, actor, key_id, _approved)
        )
        await self._directory.renew()
        return answer

    async def _revoke_key(self, incoming: Incoming) -> bytes:
        request = parse(messages.RevokeKeyRequest, incoming.body)
        write = to_write("revoke_key", request.request_id, request, incoming)
        key_id = check_text("key_id", request.key_id, MAX_KEY_ID)
        reason = check_text("reason", request.reason, MAX_REASON)
        actor = to_actor(incoming.caller)
        answer = await self._answered(
            incoming, lambda: self._registrar.revoke_key(write, actor, key_id, reason, _revoked)
        )
        await self._directory.renew()
        return answer

    async def _list_keys(self, incoming: Incoming) -> bytes:
        request = parse(messages.ListKeysRequest, incoming.body)
        after, limit = text_in(request.page_token), page_limit(request.page_size)
        owners = _visible_owners(request.owner, incoming.caller)
        return await self._lanes.reads.run(lambda: self._keys_page(owners, after, limit))

    def _keys_page(self, owners: tuple[str, ...], after: str, limit: int) -> bytes:
        rows = self._snapshots.read(lambda it: list_keys(it, owners, after, limit + 1))
        page, last = split_page(rows, limit)
        return messages.ListKeysResponse(
            keys=[from_key(row) for row in page], next_page_token=to_token(last.key_id) if last else ""
        ).SerializeToString()

    async def _answered(self, incoming: Incoming, work: Callable[[], Answered]) -> bytes:
        return await answered(self._lanes.writes, incoming, work)


def to_new_partner(request: messages.CreatePartnerRequest) -> NewPartner:
    """A partner to create. Raises `InvalidField`."""
    partner = request.partner
    if partner.HasField("create_time"):
        raise InvalidField("partner.create_time", "must not be set")
    try:
        code = checked_owner(partner.partner_id)
    except SignatureMalformed as malformed:
        raise InvalidField(
            "partner.partner_id", "must be 1 to 32 of a-z, 0-9 and -, not first a -"
        ) from malformed
    if code in RESERVED:
        raise InvalidField("partner.partner_id", "must not be hub, operator or pool")
    name = check_text("partner.display_name", partner.display_name, MAX_NAME)
    return NewPartner(code, name, partner.attestation_allowed)


def to_owner(named: str, caller: Caller) -> str:
    """The owner of a key to come. Raises `InvalidField`, or ROLE_REQUIRED for a partner that names another."""
    if not is_staff(caller):
        if named not in ("", caller.owner):
            raise error("ROLE_REQUIRED")
        return caller.owner
    try:
        owner = checked_owner(named)
    except SignatureMalformed as malformed:
        raise InvalidField("owner", "must be a partner's id or operator") from malformed
    if owner == HUB_OWNER:
        raise InvalidField("owner", "must not be hub")
    return owner


def to_holder(holder: str, owner: str) -> str:
    """Who will hold the key: a person where the owner is the operator, nobody otherwise. Raises `InvalidField`."""
    if owner != OPERATOR_OWNER:
        if holder:
            raise InvalidField("holder", "must be empty for a partner's key")
        return ""
    if not holder or not HOLDER.fullmatch(holder):
        raise InvalidField("holder", "must name the person in 1 to 64 printable ASCII characters")
    return holder


def to_new_key(request: messages.RegisterKeyRequest, caller: Caller) -> NewKey:
    """A key to register. Raises `InvalidField`."""
    owner = to_owner(request.owner, caller)
    holder = to_holder(request.holder, owner)
    return NewKey(
        owner,
        holder,
        _octets("public_key", request.public_key, PUBLIC_KEY_BYTES),
        _octets("challenge", request.challenge, CHALLENGE_BYTES),
        _octets("proof", request.proof, SIGNATURE_BYTES),
        _to_roles(request, owner),
        check_range("validity_days", request.validity_days, 0, MAX_VALIDITY_DAYS) or MAX_VALIDITY_DAYS,
    )


def _octets(name: str, value: bytes, length: int) -> bytes:
    if len(value) != length:
        raise InvalidField(name, f"must be {length} bytes")
    return value


def _to_roles(request: messages.RegisterKeyRequest, owner: str) -> tuple[str, ...]:
    if owner != OPERATOR_OWNER:
        if request.roles:
            raise InvalidField("roles", "must be empty for a partner's key")
        return ("partner",)
    numbers = list(request.roles)
    if not numbers or len(set(numbers)) < len(numbers) or not _ROLE_NAMES.keys() >= set(numbers):
        raise InvalidField("roles", "must be roles of the operator's people, each once")
    return tuple(_ROLE_NAMES[number] for number in sorted(numbers))


def _visible_owners(named: str, caller: Caller) -> tuple[str, ...]:
    """The owners whose keys to list; none named means all. A partner sees its own and the hub's."""
    if is_staff(caller):
        return (named,) if named else ()
    mine = (caller.owner, HUB_OWNER)
    if named and named not in mine:
        raise error("ROLE_REQUIRED")
    return (named,) if named else mine


def from_partner(partner: Partner) -> messages.Partner:
    """A partner for the wire."""
    return messages.Partner(
        partner_id=partner.code,
        display_name=partner.display_name,
        attestation_allowed=partner.attestation_allowed,
        create_time=to_timestamp(partner.create_time),
    )


def _name_only(partner: Partner) -> messages.Partner:
    return messages.Partner(partner_id=partner.code, display_name=partner.display_name)


def from_key(key: Key) -> messages.Key:
    """A key for the wire."""
    return messages.Key(
        key_id=key.key_id,
        owner=key.owner,
        holder=key.holder,
        public_key=key.public_key,
        roles=[_ROLES[role] for role in key.roles],
        state=_STATES[key.state],
        valid_from=to_timestamp(key.valid_from),
        valid_until=to_timestamp(key.valid_until),
    )


def _created(partner: Partner) -> bytes:
    return messages.CreatePartnerResponse(partner=from_partner(partner)).SerializeToString(deterministic=True)


def _challenged(made: Challenge) -> bytes:
    return messages.CreateKeyChallengeResponse(
        challenge=made.challenge, expire_time=to_timestamp(made.expire_time)
    ).SerializeToString(deterministic=True)


def _registered(key: Key) -> bytes:
    return messages.RegisterKeyResponse(key=from_key(key)).SerializeToString(deterministic=True)


def _approved(key: Key) -> bytes:
    return messages.ApproveKeyResponse(key=from_key(key)).SerializeToString(deterministic=True)


def _revoked(key: Key) -> bytes:
    return messages.RevokeKeyResponse(key=from_key(key)).SerializeToString(deterministic=True)
