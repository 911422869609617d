"""What can be read without locks: the only part of the store that the services know."""

from exchange.store.reads.registry import (
    KeyRow,
    PartnerRow,
    RegistryRow,
    read_cards,
    read_due_members,
    read_registry,
    read_registry_version,
)

__all__ = [
    "KeyRow",
    "PartnerRow",
    "RegistryRow",
    "read_cards",
    "read_due_members",
    "read_registry",
    "read_registry_version",
]
