"""Whether the hub can be reached, asked now and then, so that whoever wants to know need not wait for it."""

import asyncio
import logging
from dataclasses import dataclass
from enum import StrEnum

from merchant_adapter.client import Hub
from merchant_adapter.errors import Forbidden, HubError, ReceiptInvalid, Stale, Untrusted
from merchant_adapter.outbox.dispatcher import Progress
from merchant_adapter.reasons import Reason

PAUSE_SECONDS = 10.0
DEADLINE_SECONDS = 5.0

_log = logging.getLogger(__name__)


class HubState(StrEnum):
    """How the hub was when it was asked last.

    `untrusted`: it answers, but does not take this key, or what it answers is not signed by a key of the hub's.
    """

    UNKNOWN = "unknown"
    REACHABLE = "reachable"
    UNREACHABLE = "unreachable"
    UNTRUSTED = "untrusted"


_LEVELS = {
    HubState.UNKNOWN: logging.INFO,
    HubState.REACHABLE: logging.INFO,
    HubState.UNREACHABLE: logging.WARNING,
    HubState.UNTRUSTED: logging.ERROR,
}


@dataclass(frozen=True, slots=True)
class _Seen:
    """How the hub is, in a word and for the log: why, and what to do."""

    state: HubState
    says: str


_NOT_ASKED = _Seen(HubState.UNKNOWN, "not asked yet")
_REACHABLE = _Seen(HubState.REACHABLE, "it answers, and takes this key")
_UNREACHABLE = _Seen(HubState.UNREACHABLE, "it does not answer; sales are stored, and sent when it is back")
_NOT_BELIEVED = _Seen(
    HubState.UNTRUSTED,
    f"what it answers is not signed by a key of --hub-keys ({Reason.RECEIPT_INVALID}): none of it is believed, and"
    " sales stay in the outbox; get the hub's public keys from the operator by a way you trust, or find out who"
    " answers at --hub",
)


class HubWatch:
    """Asks the hub for its constants every few seconds. The log has a line for each change, and none between them."""

    def __init__(self, hub: Hub, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._hub = hub
        self._pause_seconds = pause_seconds
        self._asked = self._seen = _NOT_ASKED
        self._is_not_believed = False

    @property
    def state(self) -> HubState:
        """How the hub is now."""
        return self._seen.state

    async def run(self) -> None:
        """Asks until it is cancelled."""
        while True:
            self._asked = await self._ask()
            self._note()
            await asyncio.sleep(self._pause_seconds)

    def heard(self, progress: Progress) -> None:
        """What the dispatcher came to. It sees receipts, which the answer to a question has none of."""
        if progress.trouble in ("", Reason.RECEIPT_INVALID):
            self._is_not_believed = bool(progress.trouble)
            self._note()

    def _note(self) -> None:
        is_answering = self._asked.state in (HubState.UNKNOWN, HubState.REACHABLE)
        seen = _NOT_BELIEVED if self._is_not_believed and is_answering else self._asked
        if seen != self._seen:
            self._seen = seen
            _log.log(_LEVELS[seen.state], "hub %s: %s", seen.state, seen.says)

    async def _ask(self) -> _Seen:
        try:
            await self._hub.ledger(deadline_seconds=DEADLINE_SECONDS)
        except (Untrusted, Forbidden) as error:
            return _Seen(HubState.UNTRUSTED, self._not_let_in(error))
        except ReceiptInvalid:
            return _NOT_BELIEVED
        except HubError:
            return _UNREACHABLE
        return _REACHABLE

    def _not_let_in(self, error: Untrusted | Forbidden) -> str:
        key_id, audience = self._hub.channel.key.key_id, self._hub.channel.audience
        match error:
            case Stale():
                does = "finds our signatures too old or too new"
                then = "set this machine's clock, and keep it set by NTP; `tongdui-adapter ping` shows the difference"
            case Forbidden():
                does = f"does not allow {key_id} to read the ledger"
                then = "ask the operator for the key's role"
            case _:
                does = f"does not take {key_id}, or not as a key for {audience}"
                then = (
                    "see that --key, --audience and --hub are what the operator gave you, and that the key is"
                    " approved, in force and not revoked"
                )
        return f"it {does} ({error.reason}): sales stay in the outbox; {then}"
