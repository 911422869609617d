"""What becomes of a command after a try: pure rules, with time and chance as data.

A recorded answer of the hub, accepted or refused, is final. What the hub can never decide is a dead letter: a person
looks at it. Everything else is asked again, as it is, until there is an answer.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from merchant_adapter.errors import Forbidden, InvalidRequest, Refusal, Refused, Untrusted
from merchant_adapter.reasons import Reason

BEHIND_DEAD_LETTER = "BEHIND_DEAD_LETTER"
"""The reason of a dead letter that was never sent, because one that it must not overtake is a dead letter."""


class Fate(StrEnum):
    """What a try came to."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    AGAIN = "again"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When to ask again, and when to stop.

    Attributes:
        first_pause_seconds: the pause after a first try; each further one doubles it.
        longest_pause_seconds: where doubling ends. Below 30, so that an outbox empties soon after an outage.
        longest_asked_pause_seconds: the longest pause a hub may ask for.
        untrusted_seconds: how long a key may be refused before its commands are dead letters.
        noted_refusals: reasons of recorded refusals that a person is to look at, such as EVENT_TOO_OLD. They are
            final all the same.
    """

    first_pause_seconds: float = 0.2
    longest_pause_seconds: float = 8.0
    longest_asked_pause_seconds: float = 60.0
    untrusted_seconds: float = 86_400.0
    noted_refusals: frozenset[str] = field(default_factory=frozenset)

    @property
    def no_pause_seconds(self) -> float:
        """Longer than any pause: what is due later still was put off before the clock was set back."""
        return 2.0 * max(self.longest_pause_seconds, self.longest_asked_pause_seconds, 60.0)


@dataclass(frozen=True, slots=True)
class Tried:
    """The tries of one command so far.

    Attributes:
        attempts: how many, the last one included.
        untrusted_since: since when the key has been refused without a break, in Unix seconds; None where it was not.
    """

    attempts: int
    untrusted_since: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done with a command.

    Attributes:
        fate: what the try came to.
        reason: the hub's reason, empty for an acceptance.
        pause_seconds: for AGAIN, how long to wait first.
        untrusted_since: to be kept with the command, as in `Tried`.
        holds_member: for DEAD, whether the member's later commands must not pass it.
        is_noted: for REFUSED, whether a person is to look at it.
    """

    fate: Fate
    reason: str = ""
    pause_seconds: float = 0.0
    untrusted_since: float | None = None
    holds_member: bool = False
    is_noted: bool = False


ACCEPTED = Verdict(Fate.ACCEPTED)
BEHIND = Verdict(Fate.DEAD, BEHIND_DEAD_LETTER)


def judge(refusal: Refusal, tried: Tried, now: float, chance: float, policy: RetryPolicy) -> Verdict:
    """What becomes of a command that was not accepted.

    `now` is in Unix seconds; `chance` is uniform in [0, 1) and spreads the pauses of many callers.
    """
    error, reason = refusal.to_error(), refusal.reason or refusal.code
    pause = pause_seconds(tried.attempts, refusal.retry_after_seconds, chance, policy)
    match error:
        case Untrusted() | Forbidden():
            since = now if tried.untrusted_since is None else tried.untrusted_since
            if now - since >= policy.untrusted_seconds:
                # The command is not at fault and will be sent once the key is mended: nothing may overtake it.
                return Verdict(Fate.DEAD, reason, holds_member=True)
            return Verdict(Fate.AGAIN, reason, pause, untrusted_since=since)
        case InvalidRequest() if reason != Reason.EVENT_IN_FUTURE:
            return Verdict(Fate.DEAD, reason)
        case Refused() if error.recorded:
            return Verdict(Fate.REFUSED, reason, is_noted=reason in policy.noted_refusals)
        case Refused():
            # REQUEST_ID_REUSED and its like: not decided, and these bytes never will be.
            return Verdict(Fate.DEAD, reason)
        case _:
            return Verdict(Fate.AGAIN, reason, pause)


def pause_seconds(attempts: int, asked_seconds: float | None, chance: float, policy: RetryPolicy) -> float:
    """The pause after so many tries: doubled each time up to a cap, and spread over its upper half.

    Never shorter than what the hub asked for, as far as that is reasonable.
    """
    doublings = min(max(attempts - 1, 0), 30)  # 2.0 ** 1024 would overflow
    full = min(policy.first_pause_seconds * 2.0**doublings, policy.longest_pause_seconds)
    spread = full * (0.5 + 0.5 * chance)
    asked = min(max(asked_seconds or 0.0, 0.0), policy.longest_asked_pause_seconds)
    return max(spread, asked + 0.25 * asked * chance)


def is_about_one(refusal: Refusal) -> bool:
    """Whether an answer to a whole batch may be the fault of one command in it, which smaller batches will find."""
    return isinstance(refusal.to_error(), InvalidRequest | Refused) or refusal.reason == Reason.INTERNAL
