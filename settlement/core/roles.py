"""Who may do what: the whole role matrix is the table of acts below.

The hub registers a person's keys with roles; settlement reads them there and has none of its own. Two people
for one item is not a matter of roles: one person may hold several, and the tables compare the names.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final


class RoleMissing(Exception):
    """None of the person's roles may do this; `str()` names the act and the roles that may."""


class SamePerson(Exception):
    """The person who did the first half of an item asks to do the second; `str()` names both halves."""


class PersonUnknown(Exception):
    """The key is not registered at the hub, not active, or outside its validity; `str()` says which."""


class Role(Enum):
    """What a key may do, as the hub spells it."""

    OPERATOR = "operator"
    FINANCE_MAKER = "finance_maker"
    FINANCE_CHECKER = "finance_checker"
    AUDITOR = "auditor"
    PARTNER = "partner"
    SETTLEMENT = "settlement"
    """The program itself, where nobody stands beside it. No key is registered with this role."""


_OPERATOR, _MAKER, _CHECKER = Role.OPERATOR, Role.FINANCE_MAKER, Role.FINANCE_CHECKER
_AUDITOR, _PARTNER, _PROGRAM = Role.AUDITOR, Role.PARTNER, Role.SETTLEMENT


class Act(Enum):
    """Every act: its name in the audit log and the roles that may do it.

    A partner only ever acts on what is its own.
    """

    CLOSE = ("close", _MAKER, _OPERATOR, _PROGRAM)
    NET = ("net", _MAKER, _OPERATOR, _PROGRAM)
    CERTIFY = ("certify", _MAKER, _OPERATOR, _PROGRAM)
    AUDIT_JOURNAL = ("audit_journal", _MAKER, _CHECKER, _OPERATOR, _PROGRAM)
    ABORT = ("abort", _MAKER)
    APPROVE = ("approve", _CHECKER)
    EXPORT = ("export", _MAKER, _PROGRAM)
    MARK_PAYMENT = ("mark_payment", _MAKER)
    PROPOSE_DEFAULT = ("propose_default", _MAKER)
    APPROVE_DEFAULT = ("approve_default", _CHECKER)
    SETTLE = ("settle", _MAKER, _PROGRAM)
    SET_CONTRACT = ("set_contract", _MAKER)

    LOAD_FILE = ("load_file", _MAKER, _OPERATOR, _PARTNER, _PROGRAM)
    SET_PROFILE = ("set_profile", _MAKER)
    RECONCILE = ("reconcile", _MAKER, _OPERATOR, _PROGRAM)
    PROPOSE_WAIVER = ("propose_waiver", _MAKER)
    APPROVE_WAIVER = ("approve_waiver", _CHECKER)
    REJECT_WAIVER = ("reject_waiver", _MAKER, _CHECKER)

    ASSIGN_BREAK = ("assign_break", _MAKER, _OPERATOR)
    COMMENT_BREAK = ("comment_break", _MAKER, _CHECKER, _OPERATOR, _PARTNER)
    CLEAR_BREAK = ("clear_break", _PROGRAM)
    ESCALATE_BREAK = ("escalate_break", _PROGRAM)
    PROPOSE_RESOLUTION = ("propose_resolution", _MAKER)
    APPROVE_RESOLUTION = ("approve_resolution", _CHECKER)
    REJECT_RESOLUTION = ("reject_resolution", _CHECKER)
    REOPEN_BREAK = ("reopen_break", _MAKER, _CHECKER, _PROGRAM)
    PROPOSE_ADJUSTMENT = ("propose_adjustment", _MAKER)
    APPROVE_ADJUSTMENT = ("approve_adjustment", _CHECKER)
    WITHDRAW_ADJUSTMENT = ("withdraw_adjustment", _MAKER, _CHECKER)

    OPEN_DISPUTE = ("open_dispute", _MAKER, _PARTNER)
    ANSWER_DISPUTE = ("answer_dispute", _MAKER, _PARTNER)
    DECIDE_DISPUTE = ("decide_dispute", _CHECKER)
    EXPIRE_DISPUTE = ("expire_dispute", _MAKER, _PROGRAM)

    READ = ("read", _OPERATOR, _MAKER, _CHECKER, _AUDITOR, _PARTNER, _PROGRAM)

    def __init__(self, label: str, *roles: Role) -> None:
        self.label: Final = label
        self.roles: Final = roles


def may(roles: Iterable[Role], act: Act) -> bool:
    """Whether any of `roles` allows `act`."""
    return role_for(roles, act) is not None


def role_for(roles: Iterable[Role], act: Act) -> Role | None:
    """The role in which somebody with `roles` does `act`: the first that may, None where none does."""
    held = frozenset(roles)
    return next((role for role in act.roles if role in held), None)


def known_roles(names: Iterable[str]) -> frozenset[Role]:
    """The roles among `names` that mean something here. The hub may register others, for other programs."""
    values = {role.value: role for role in Role if role is not Role.SETTLEMENT}
    return frozenset(values[name] for name in names if name in values)
