"""PointsService: posts and reads points."""

from __future__ import annotations

from typing import Final

from google.protobuf.unknown_fields import UnknownFieldSet

from exchange.batch import Answer
from exchange.batcher import Batcher
from exchange.core.commands import Asked
from exchange.rpc.answers import result_bytes
from exchange.rpc.calls import MAX_BATCH_MESSAGE, REPLAYED, Handler, Incoming, Method
from exchange.rpc.commands import KINDS, Asker, Kind, to_command
from exchange.rpc.errors import CallError, InvalidField, invalid_field_status
from exchange.rpc.quotes import QuoteBook
from exchange.rpc.quoting import Quoter
from exchange.rpc.reading import WalletReader
from exchange.rpc.translate import has_unknown, parse, parse_lenient, refuse_unknown
from tongdui.exchange.v1 import points_service_pb2

SERVICE: Final = "tongdui.exchange.v1.PointsService"
MAX_COMMANDS: Final = 1000

_PARTNER: Final = frozenset({"partner"})


class PointsService:
    """Turns calls into commands for the batcher, and its answers into responses."""

    def __init__(self, batcher: Batcher, wallets: WalletReader, quoter: Quoter, quotes: QuoteBook) -> None:
        """Takes who decides, who reads, and who makes and checks quotes."""
        self._batcher = batcher
        self._quoter = quoter
        self._wallets = wallets
        self._quotes = quotes

    def methods(self) -> tuple[Method, ...]:
        """The rpcs of the service: one a kind of command, and the others."""
        readers = frozenset({"partner", "operator", "auditor"})
        return (
            *(
                Method(_rpc_name(name), _PARTNER, self._handler(kind), is_write=True)
                for name, kind in KINDS.items()
            ),
            Method("PostBatch", _PARTNER, self._post_batch, is_write=True, max_bytes=MAX_BATCH_MESSAGE),
            Method("Quote", _PARTNER, self._quoter.quote, is_write=False),
            Method("GetWallet", readers, self._wallets.get_wallet, is_write=False),
            Method("ListEntries", readers, self._wallets.list_entries, is_write=False),
        )

    def _handler(self, kind: Kind) -> Handler:
        async def handle(incoming: Incoming) -> bytes:
            request = parse(kind.message, incoming.body)
            command = kind.to_command(self._asker(incoming), request)
            return await decide_one(self._batcher, command, incoming)

        return handle

    def _asker(self, incoming: Incoming) -> Asker:
        return Asker(incoming.caller.partner_id, incoming.caller.owner, self._quotes)

    async def _post_batch(self, incoming: Incoming) -> bytes:
        request = parse_lenient(points_service_pb2.PostBatchRequest, incoming.body)
        count = len(request.commands)
        if not 1 <= count <= MAX_COMMANDS:
            raise InvalidField("commands", f"must be 1 to {MAX_COMMANDS} commands")
        commands, results = _translate_batch(self._asker(incoming), request)
        if commands:
            answers = await self._batcher.submit(commands, incoming.evidence())
            _fill(results, answers)
        return b"".join([result for result in results if result is not None])


async def decide_one(batcher: Batcher, command: Asked, incoming: Incoming) -> bytes:
    """The answer to a call that is one command. Raises the `CallError` of its refusal."""
    (answer,) = await batcher.submit([command], incoming.evidence())
    if answer.replayed:
        incoming.hints.append(REPLAYED)
    if answer.accepted:
        return answer.body
    raise CallError.recorded(answer.body)


def _rpc_name(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split("_"))


def _translate_batch(
    asker: Asker, request: points_service_pb2.PostBatchRequest
) -> tuple[list[Asked], list[bytes | None]]:
    """The well-formed commands, and one result a command: None where the batcher is to give it."""
    if len(UnknownFieldSet(request)):  # on the batch itself, not in a command
        refuse_unknown(request)
    clean = not has_unknown(request)
    commands: list[Asked] = []
    results: list[bytes | None] = []
    for command in request.commands:
        try:
            if not clean:
                refuse_unknown(command)
            commands.append(to_command(asker, command))
        except InvalidField as problem:
            body = invalid_field_status(problem).SerializeToString()
            results.append(result_bytes(Answer("malformed", False, False, body)))
        else:
            results.append(None)
    return commands, results


def _fill(results: list[bytes | None], answers: list[Answer]) -> None:
    waiting = iter(answers)
    for index, result in enumerate(results):
        if result is None:
            results[index] = result_bytes(next(waiting))
