"""Whether the hub can be reached, asked now and then, so that whoever wants to know need not wait for it."""

import asyncio
from enum import StrEnum

from merchant_adapter.client import Hub
from merchant_adapter.errors import Forbidden, HubError, Untrusted

PAUSE_SECONDS = 10.0
DEADLINE_SECONDS = 5.0


class HubState(StrEnum):
    """How the hub was when it was asked last; `untrusted`: it answers, but does not take this key."""

    UNKNOWN = "unknown"
    REACHABLE = "reachable"
    UNREACHABLE = "unreachable"
    UNTRUSTED = "untrusted"


class HubWatch:
    """Asks the hub for its constants every few seconds."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.state = HubState.UNKNOWN

    async def run(self) -> None:
        """Asks until it is cancelled."""
        while True:
            self.state = await self._asked()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _asked(self) -> HubState:
        try:
            await self._hub.ledger(deadline_seconds=DEADLINE_SECONDS)
        except (Untrusted, Forbidden):
            return HubState.UNTRUSTED
        except HubError:
            return HubState.UNREACHABLE
        return HubState.REACHABLE
