"""Sets up a coalition as its operators would: a hub process, two operators, partners, keys, rate cards.

Used by the demo, the benchmarks and the system tests. It does nothing a stranger could not: it starts
`tongdui-hub` and calls its services with signed requests.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, Final, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type import date_pb2

from merchant_adapter import Hub, HubKeys, Key, SignedChannel, new_request_id
from merchant_adapter.registration import Registration
from tongdui.exchange.v1 import journal_service_pb2, partners_service_pb2, rate_cards_service_pb2
from tongdui.signing import public_key_text
from tongdui.type.v1 import fraction_pb2

AUDIENCE: Final = "hub.example/demo"
OPERATORS: Final = ("alice", "bob")
START_SECONDS: Final = 120.0

_PARTNERS: Final = "/tongdui.exchange.v1.PartnersService/"
_CARDS: Final = "/tongdui.exchange.v1.RateCardsService/"
_JOURNAL: Final = "/tongdui.exchange.v1.JournalService/"

_Answer = TypeVar("_Answer", bound=Message)


class HubFailed(RuntimeError):
    """The hub process ended or did not start; the message holds the end of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardTerms:
    """A rate card in a person's words. Prices in micros a point, rates as (numerator, denominator).

    Without native rates, native points are not exchanged.
    """

    earn_rate: tuple[int, int] = (1, 1)
    face_value_micros: int = 10_000
    funding_micros: int = 10_000
    reimbursement_micros: int = 9_500
    issue_fee_micros: int = 200
    prefunded_micros: int = 10_000
    breakage_issuer_share: tuple[int, int] = (1, 2)
    expiry: rate_cards_service_pb2.ExpiryPolicy = field(
        default_factory=lambda: rate_cards_service_pb2.ExpiryPolicy(months_to_month_end=12)
    )
    native_rate_in: tuple[int, int] | None = None
    native_rate_out: tuple[int, int] | None = None
    exchange_spread: tuple[int, int] | None = None


@dataclass(slots=True)
class HubProcess:
    """A running `tongdui-hub serve`."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path

    def kill(self) -> None:
        """Ends it the hard way, as a power cut would."""
        self.process.kill()
        self.wait()

    def stop(self) -> None:
        """Asks it to stop and waits until it has."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.wait()

    def wait(self) -> int:
        """Waits for its end and gives the exit code."""
        if self.process.stdout is not None:
            self.process.stdout.close()
        return self.process.wait(START_SECONDS)


@dataclass(slots=True)
class Site:
    """Where a coalition's hub keeps its things, and how its programs are started."""

    data_dir: Path
    audience: str = AUDIENCE
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def hub_keys_file(self) -> Path:
        """The hub's public keys."""
        return self.data_dir / "hub-keys.json"

    def initialise(self, operators: Sequence[Key], *options: str) -> None:
        """`tongdui-hub init` with these first operators. Raises `HubFailed`."""
        people = [f"--operator={key.holder}={public_key_text(key.public_key)}" for key in operators]
        command = [*_program("exchange"), "init", "--audience", self.audience, *people, *options]
        done = subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise HubFailed(done.stderr)

    def serve(self, port: int = 0, name: str = "hub", pass_fds: Sequence[int] = ()) -> HubProcess:
        """Starts a hub and waits until it answers. Port 0 takes any free one. Raises `HubFailed`.

        The files of `pass_fds` stay open as long as the hub runs, and with them their locks.
        """
        log = self.data_dir / f"{name}.log"
        environment = self._environment() | {"TONGDUI_LISTEN": f"127.0.0.1:{port}"}
        with log.open("ab") as sink:
            process = subprocess.Popen(
                [*_program("exchange"), "serve"],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=sink,
                pass_fds=pass_fds,
            )
        assert process.stdout is not None
        return HubProcess(process, _address(process, process.stdout, log), log)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "TONGDUI_DATA_DIR": str(self.data_dir), **self.environment}


def _program(package: str) -> list[str]:
    return [sys.executable, "-m", package]


def _address(process: subprocess.Popen[bytes], output: IO[bytes], log: Path) -> str:
    said, _, _ = select.select([output], [], [], START_SECONDS)
    line = output.readline() if said else b""  # the first says that it serves; its end closes the pipe
    found = re.search(r"serves (\S+)", line.decode())
    if found is None:
        process.kill()
        process.wait()
        what = "ended" if said else f"did not say within {START_SECONDS:g} s that it serves"
        raise HubFailed(f"the hub {what}; its log ends:\n{log.read_text()[-2000:]}")
    return found[1]


class Operator:
    """One person of the operator, calling the hub's services with her own key."""

    def __init__(self, channel: SignedChannel) -> None:
        """Takes a channel that signs with her key."""
        self.channel = channel

    async def call(self, path: str, request: Message, answer: type[_Answer]) -> _Answer:
        """Any unary method of any service."""
        return (await self.channel.call(path, request, answer)).message

    async def set_time(self, moment: datetime) -> int:
        """Moves a manual ledger clock and gives the number of members whose points expired."""
        request = journal_service_pb2.SetLedgerTimeRequest(
            request_id=new_request_id(), ledger_time=timestamp(moment)
        )
        answer = await self.call(
            _JOURNAL + "SetLedgerTime", request, journal_service_pb2.SetLedgerTimeResponse
        )
        return answer.woken_member_count


class Operators:
    """The two people it takes: one proposes, the other approves."""

    def __init__(self, first: Operator, second: Operator) -> None:
        """Takes both."""
        self.first = first
        self.second = second

    async def close(self) -> None:
        """Closes both connections."""
        await self.first.channel.close()
        await self.second.channel.close()

    async def add_partner(self, partner_id: str, display_name: str, *, attestation: bool = True) -> Key:
        """Creates a partner and gives it a key that is registered and approved."""
        partner = partners_service_pb2.Partner(
            partner_id=partner_id, display_name=display_name, attestation_allowed=attestation
        )
        await self.first.call(
            _PARTNERS + "CreatePartner",
            partners_service_pb2.CreatePartnerRequest(request_id=new_request_id(), partner=partner),
            partners_service_pb2.CreatePartnerResponse,
        )
        key = Key.generate(partner_id)
        await self.admit_key(key)
        return key

    async def admit_key(self, key: Key, roles: Sequence[partners_service_pb2.Role.ValueType] = ()) -> None:
        """Registers a key with proof of possession and has the second person approve it."""
        challenge = await self.first.call(
            _PARTNERS + "CreateKeyChallenge",
            partners_service_pb2.CreateKeyChallengeRequest(
                request_id=new_request_id(), owner=key.owner, holder=key.holder
            ),
            partners_service_pb2.CreateKeyChallengeResponse,
        )
        registration = Registration.of(key, self.first.channel.audience, challenge.challenge)
        await self.first.call(
            _PARTNERS + "RegisterKey",
            partners_service_pb2.RegisterKeyRequest(
                request_id=new_request_id(),
                owner=key.owner,
                holder=key.holder,
                public_key=key.public_key,
                challenge=challenge.challenge,
                proof=registration.proof,
                roles=roles,
            ),
            partners_service_pb2.RegisterKeyResponse,
        )
        await self.second.call(
            _PARTNERS + "ApproveKey",
            partners_service_pb2.ApproveKeyRequest(request_id=new_request_id(), key_id=key.key_id),
            partners_service_pb2.ApproveKeyResponse,
        )

    async def add_card(self, partner_id: str, valid_from: datetime, terms: CardTerms) -> int:
        """Proposes a rate card and has the second person approve it; gives its version."""
        card = rate_cards_service_pb2.RateCard(
            partner_id=partner_id,
            valid_from=timestamp(valid_from),
            earn_rate=fraction(terms.earn_rate),
            face_value_micros=terms.face_value_micros,
            funding_micros=terms.funding_micros,
            reimbursement_micros=terms.reimbursement_micros,
            issue_fee_micros=terms.issue_fee_micros,
            prefunded_micros=terms.prefunded_micros,
            expiry_policy=terms.expiry,
            breakage_issuer_share=fraction(terms.breakage_issuer_share),
            native_rate_in=terms.native_rate_in and fraction(terms.native_rate_in),
            native_rate_out=terms.native_rate_out and fraction(terms.native_rate_out),
            exchange_spread=terms.exchange_spread and fraction(terms.exchange_spread),
        )
        proposed = await self.first.call(
            _CARDS + "ProposeRateCard",
            rate_cards_service_pb2.ProposeRateCardRequest(request_id=new_request_id(), rate_card=card),
            rate_cards_service_pb2.ProposeRateCardResponse,
        )
        version = proposed.rate_card.version
        await self.second.call(
            _CARDS + "ApproveRateCard",
            rate_cards_service_pb2.ApproveRateCardRequest(
                request_id=new_request_id(), partner_id=partner_id, version=version
            ),
            rate_cards_service_pb2.ApproveRateCardResponse,
        )
        return version


def operator_keys() -> list[Key]:
    """New keys for the first two operators."""
    return [Key.generate("operator", name) for name in OPERATORS]


def open_operators(site: Site, address: str, keys: Sequence[Key]) -> Operators:
    """Both operators, connected. Call it where an event loop runs."""
    hub_keys = HubKeys.load(site.hub_keys_file)
    channels = [SignedChannel.open(address, site.audience, key=key, hub_keys=hub_keys) for key in keys]
    return Operators(Operator(channels[0]), Operator(channels[1]))


def open_hub(site: Site, address: str, key: Key, timeout_seconds: float = 30.0) -> Hub:
    """A partner's connection. Call it where an event loop runs."""
    return Hub.connect(
        address, site.audience, key=key, hub_keys=site.hub_keys_file, timeout_seconds=timeout_seconds
    )


def timestamp(moment: datetime) -> Timestamp:
    """A moment for the wire."""
    made = Timestamp()
    made.FromDatetime(moment.astimezone(UTC))
    return made


def wire_date(day: date) -> date_pb2.Date:
    """A day for the wire."""
    return date_pb2.Date(year=day.year, month=day.month, day=day.day)


def fraction(rate: tuple[int, int]) -> fraction_pb2.Fraction:
    """A rate for the wire."""
    return fraction_pb2.Fraction(numerator=rate[0], denominator=rate[1])
