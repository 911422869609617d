"""PointsService: posts and reads points."""

from __future__ import annotations

from typing import Final

from google.protobuf.unknown_fields import UnknownFieldSet

from exchange.batcher import Answer, Batcher
from exchange.core.commands import Asked
from exchange.rpc.answers import result_bytes
from exchange.rpc.calls import MAX_BATCH_MESSAGE, REPLAYED, Incoming, Method
from exchange.rpc.errors import CallError, InvalidField, invalid_field_status
from exchange.rpc.reading import WalletReader
from exchange.rpc.translate import (
    has_unknown,
    parse,
    parse_lenient,
    refuse_unknown,
    to_burn,
    to_command,
    to_earn,
)
from tongdui.exchange.v1 import commands_pb2, points_service_pb2

SERVICE: Final = "tongdui.exchange.v1.PointsService"
MAX_COMMANDS: Final = 1000

_PARTNER: Final = frozenset({"partner"})


class PointsService:
    """Turns calls into commands for the batcher, and its answers into responses."""

    def __init__(self, batcher: Batcher, wallets: WalletReader) -> None:
        """Takes who decides and who reads."""
        self._batcher = batcher
        self._wallets = wallets

    def methods(self) -> tuple[Method, ...]:
        """The rpcs of the service."""
        readers = frozenset({"partner", "operator", "auditor"})
        return (
            Method("Earn", _PARTNER, self._earn, is_write=True),
            Method("Burn", _PARTNER, self._burn, is_write=True),
            Method("PostBatch", _PARTNER, self._post_batch, is_write=True, max_bytes=MAX_BATCH_MESSAGE),
            Method("GetWallet", readers, self._wallets.get_wallet, is_write=False),
            Method("ListEntries", readers, self._wallets.list_entries, is_write=False),
        )

    async def _earn(self, incoming: Incoming) -> bytes:
        request = parse(commands_pb2.EarnRequest, incoming.body)
        return await self._one(to_earn(incoming.caller.partner_id, request), incoming)

    async def _burn(self, incoming: Incoming) -> bytes:
        request = parse(commands_pb2.BurnRequest, incoming.body)
        return await self._one(to_burn(incoming.caller.partner_id, request), incoming)

    async def _one(self, command: Asked, incoming: Incoming) -> bytes:
        (answer,) = await self._batcher.submit([command], incoming.evidence())
        if answer.replayed:
            incoming.hints.append(REPLAYED)
        if answer.accepted:
            return answer.body
        raise CallError.recorded(answer.body)

    async def _post_batch(self, incoming: Incoming) -> bytes:
        request = parse_lenient(points_service_pb2.PostBatchRequest, incoming.body)
        count = len(request.commands)
        if not 1 <= count <= MAX_COMMANDS:
            raise InvalidField("commands", f"must be 1 to {MAX_COMMANDS} commands")
        commands, results = _translate_batch(incoming.caller.partner_id, request)
        if commands:
            answers = await self._batcher.submit(commands, incoming.evidence())
            _fill(results, answers)
        return b"".join([result for result in results if result is not None])


def _translate_batch(
    partner_id: int, request: points_service_pb2.PostBatchRequest
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
            commands.append(to_command(partner_id, command))
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
