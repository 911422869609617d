"""The two files behind a webhook: what was agreed on orders (TOML), and the shared secrets (mode 0600)."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from merchant_adapter.json_object import Unreadable
from merchant_adapter.private_files import read_private
from merchant_adapter.webhooks.order_event import OrderPolicy, OrderState

MOST_SECRETS = 2
LEAST_SECRET_CHARACTERS = 32

_FINAL_STATES = {it.value: it for it in (OrderState.PAID, OrderState.COMPLETED)}


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """What a sidecar has to know to take webhooks: the policy, and the one or two secrets that count."""

    policy: OrderPolicy
    secrets: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads the TOML file and the file that its `secrets_file` names, beside it unless the path is absolute.

        Raises FileRefused, Unreadable, OSError.
        """
        try:
            told = tomllib.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"{path}: not TOML: {error}") from error
        secrets_file = told.pop("secrets_file", None)
        if not isinstance(secrets_file, str) or not secrets_file or "\0" in secrets_file:
            raise Unreadable(f"{path}: secrets_file: expected the path of a file")
        policy = _policy(told, str(path))
        return cls(policy, _secrets(path.parent / secrets_file))


def _policy(told: Mapping[str, Any], source: str) -> OrderPolicy:
    known = {one.name: one.type for one in fields(OrderPolicy)}
    if unknown := sorted(told.keys() - known.keys()):
        raise Unreadable(
            f"{source}: {unknown[0]}: no such setting; there are secrets_file, {', '.join(known)}"
        )
    values = dict(told)
    for name in ("currency", "store_id", "terminal_id"):
        value = values.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= 64 or not value.isprintable():
            raise Unreadable(f"{source}: {name}: expected text of 1 to 64 printable characters")
    for name in ("confirm_on", "capture_on"):
        if name in values:
            if values[name] not in list(_FINAL_STATES):
                raise Unreadable(f"{source}: {name}: expected {' or '.join(_FINAL_STATES)}")
            values[name] = _FINAL_STATES[values[name]]
    for name in ("exclude_tax", "exclude_shipping"):
        if not isinstance(values.get(name, False), bool):
            raise Unreadable(f"{source}: {name}: expected true or false")
    return OrderPolicy(**values)


def _secrets(path: Path) -> tuple[bytes, ...]:
    """One secret a line."""
    secrets = tuple(line for line in read_private(path).split() if line)
    if not 1 <= len(secrets) <= MOST_SECRETS:
        raise Unreadable(f"{path}: expected one secret a line, {MOST_SECRETS} at most")
    if any(len(secret) < LEAST_SECRET_CHARACTERS for secret in secrets):
        raise Unreadable(f"{path}: a secret has at least {LEAST_SECRET_CHARACTERS} characters")
    return secrets
