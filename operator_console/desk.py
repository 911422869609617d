"""What a command works with: the hub, signed for by one person, and that person, to be asked."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import RenderableType

from merchant_adapter import Key, SyncHub, Unreadable
from merchant_adapter.cli.arguments import connect
from operator_console.plain import Row, to_plain
from operator_console.screen import make_console
from tongdui.exchange.v1 import (
    accounts_service_pb2,
    journal_service_pb2,
    members_service_pb2,
    partners_service_pb2,
    points_service_pb2,
    rate_cards_service_pb2,
)

LONG_SECONDS: Final = 600.0
"""For what passes over all lots, or posts what became due: it may take the hub minutes."""

MAX_PAGE: Final = 1000

_METHODS: Final[dict[str, MethodDescriptor]] = {
    method.name: method
    for module in (
        accounts_service_pb2,
        journal_service_pb2,
        members_service_pb2,
        partners_service_pb2,
        points_service_pb2,
        rate_cards_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
"""Every rpc of the hub by its name, which no two services share."""


class CannotAsk(Exception):
    """What moves points or prices wants a yes, and there is nobody at a terminal to give it."""


class Declined(Exception):
    """The person said no; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a command has to say: as a JSON document and as a person reads it."""

    content: Row
    view: RenderableType


class Desk:
    """One person of the operator at the hub."""

    def __init__(self, hub: SyncHub, arguments: argparse.Namespace) -> None:
        """Takes the connection and the command line."""
        self._hub = hub
        self._arguments = arguments
        self.sent: Message | None = None
        """The write that was sent last, to be repeated where its outcome is unknown."""

    @property
    def request_id(self) -> str:
        """The id of this command's one decision."""
        return str(self._arguments.request_id)

    def call(self, name: str, request: Message, *, long: bool = False) -> Row:
        """The plain answer of any rpc, its receipt verified where it is a write. Raises HubError."""
        method = _METHODS[name]
        if hasattr(request, "request_id"):
            self.sent = request
        seconds = max(LONG_SECONDS, self._arguments.timeout) if long else None
        kind = GetMessageClass(method.output_type)
        return to_plain(self._hub.call(method, request, kind, deadline_seconds=seconds).message)

    def pages(self, name: str, request: Any, field: str, limit: int | None = None) -> list[Row]:
        """The rows of all pages of a list, or the first `limit` of them."""
        rows: list[Row] = []
        while limit is None or len(rows) < limit:
            request.page_size = MAX_PAGE if limit is None else min(limit - len(rows), MAX_PAGE)
            answer = self.call(name, request)
            rows += answer[field]
            request.page_token = answer["next_page_token"]
            if not request.page_token:
                break
        return rows

    def event_time(self) -> Timestamp:
        """When the decision was made: as told, else now on the ledger clock."""
        moment: datetime | None = self._arguments.event_time
        if moment is None:
            ledger = self.call("GetLedger", journal_service_pb2.GetLedgerRequest())
            moment = datetime.fromisoformat(ledger["ledger_time"])
        return to_timestamp(moment)

    @property
    def asks(self) -> bool:
        """Whether a yes is wanted before anything is sent that moves points or prices."""
        return not self._arguments.yes

    def ask(self, question: str, view: RenderableType) -> None:
        """Shows what is about to happen and waits for a yes. Raises Declined."""
        console = make_console(stderr=True)  # standard output is for the answer
        console.print(view)
        console.print(f"{question} [y/N] ", end="", markup=False)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Declined


@contextmanager
def open_desk(arguments: argparse.Namespace) -> Iterator[Desk]:
    """The hub that the arguments name.

    Raises CannotAsk, and what is wrong with the arguments: FileRefused, Unreadable, SignatureMalformed, OSError.
    """
    for option, variable in (
        ("hub", "TONGDUI_HUB_ADDRESS"),
        ("audience", "TONGDUI_AUDIENCE"),
        ("hub_keys", "TONGDUI_HUB_KEYS"),
        ("key", "TONGDUI_OPERATOR_KEY"),
    ):
        if not getattr(arguments, option):
            raise Unreadable(f"give --{option.replace('_', '-')} or set {variable}")
    if arguments.asks and not arguments.yes and not sys.stdin.isatty():
        raise CannotAsk("this moves points or prices: run it at a terminal, or give --yes; nothing was sent")
    holder = Key.load(arguments.key).holder
    if arguments.holder and arguments.holder != holder:
        raise Unreadable(
            f"{arguments.key}: the key of {holder or 'nobody in particular'}, not {arguments.holder}"
        )
    with connect(arguments, arguments.key) as hub:
        yield Desk(hub, arguments)


def to_timestamp(moment: datetime) -> Timestamp:
    """A moment for the wire."""
    made = Timestamp()
    made.FromDatetime(moment)
    return made
