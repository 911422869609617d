"""`tongdui-hub`: makes a ledger and serves it, and what the operator's people do at a hub that serves."""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psycopg
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console
from rich.text import Text
from sqlalchemy.exc import OperationalError

from exchange.core.points import MAX_POINTS
from exchange.keyfile import (
    UnsafeKey,
    create_contact_key,
    create_key,
    load_contact_key,
    load_key,
    public_bytes,
    write_public_keys,
)
from exchange.logs import log_to_stderr
from exchange.registrar import (
    AlreadyInitialised,
    Envelope,
    FirstPerson,
    Membership,
    NewLedger,
    Registrar,
    RegistrarRefusal,
    Rules,
)
from exchange.settings import (
    BadSetting,
    CannotListen,
    NotInitialised,
    Settings,
    read_settings,
    require_tls_1_3,
)
from exchange.store.embedded import EmbeddedPostgresError, Keeper
from exchange.store.engine import BadDatabaseUrl, UnsafeServer, migrate, open_engine
from exchange.store.failures import StoreUnavailable
from operator_console import NOUNS
from tongdui.signing import SignatureMalformed, checked_audience

_DAY_SECONDS: Final = 86_400

_RULES: Final = (
    ("claw_back", "deficit", "deficit or clamp"),
    ("refund", "lot_exact", "lot_exact or pro_rata"),
    ("grace_days", 0, "days that refunded points get whose own have passed"),
    ("pending_days", 180, "days after which a pending earn is cancelled"),
    ("member_daily_burns", 0, "burns of a member a day; 0 is no limit"),
    ("member_daily_points", 0, "points a member may spend a day; 0 is no limit"),
    ("terminal_daily_burns", 0, "burns at a till a day; 0 is no limit"),
    ("terminal_daily_points", 0, "points spent at a till a day; 0 is no limit"),
    ("transfer_limit_points", 0, "points of one transfer; 0 is no limit"),
    ("transfer_daily_points", 0, "points a member may transfer a day; 0 is no limit"),
)
"""Options of `init`: a field of `Rules`, its default, and its help or its two choices."""

EXIT_CODES: Final = """exit codes:
  0  done, or stopped when asked
  1  the database or a key does not allow it; the message says why
  2  bad usage or a bad setting

environment:
  DATABASE_URL              postgresql://... or service=...; not set: an embedded PostgreSQL in the data directory
  TONGDUI_DATA_DIR          keys and the embedded PostgreSQL (tongdui-data)
  TONGDUI_LISTEN            host:port for gRPC (127.0.0.1:7400)
  TONGDUI_METRICS_LISTEN    host:port for Prometheus; not set: none
  TONGDUI_TLS_CERTIFICATE, TONGDUI_TLS_KEY    PEM files; needed off loopback
  TONGDUI_TLS_CLIENT_AUTHORITY                PEM file; set: clients must show a certificate of it
  TONGDUI_CONNECTIONS       database connections of the batcher (3)
  TONGDUI_LOG_LEVEL         INFO
  TONGDUI_CONTACT_KEY       file of the key that seals members' contacts (contact-key in the data directory)
  TONGDUI_CODE_SENDER       who brings one-time codes to members: a program's absolute path, or `print` to see
                            them on standard error in development; not set: nobody
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and gives its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and words[0] in NOUNS:
        require_tls_1_3()
        from operator_console.__main__ import main as operate  # imports gRPC, which reads the setting then

        return operate(words)
    options = _parser().parse_args(words)
    try:
        settings = read_settings()
        log_to_stderr(settings.log_level)
        return int(options.run(settings, options))
    except (BadSetting, BadDatabaseUrl, SignatureMalformed) as bad:
        return _say(str(bad), 2)
    except (
        UnsafeKey,
        UnsafeServer,
        NotInitialised,
        EmbeddedPostgresError,
        AlreadyInitialised,
        RegistrarRefusal,
        CannotListen,
        StoreUnavailable,
        OSError,
    ) as problem:
        return _say(str(problem), 1)
    except (psycopg.OperationalError, OperationalError) as away:
        return _say(f"the database can not be reached: {str(away).partition(chr(10))[0]}", 1)
    except KeyboardInterrupt:  # before the hub listens for it
        return 130


def _say(message: str, code: int) -> int:
    text = Text.assemble(("tongdui-hub: ", "red"), message)  # never as markup: it may hold a path
    Console(stderr=True).print(text, highlight=False, soft_wrap=True)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "tongdui-hub",
        description=__doc__,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    init = commands.add_parser("init", help="make the ledger, the hub's key and the first operators, once")
    init.add_argument("--audience", required=True, help="the hub's name that every request is signed for")
    init.add_argument("--currency", default="CNY", help="settlement currency, ISO 4217 (CNY)")
    init.add_argument("--minor-unit-digits", type=int, default=2, help="digits of the minor unit (2)")
    init.add_argument(
        "--zone", default="Asia/Shanghai", help="time zone of the coalition's days (Asia/Shanghai)"
    )
    init.add_argument(
        "--cut-off-seconds", type=int, default=0, help="end of a business day after midnight (0)"
    )
    init.add_argument(
        "--late-limit-seconds", type=int, default=7 * 86400, help="how late an event may be (7 days)"
    )
    init.add_argument(
        "--card-notice-seconds", type=int, default=0, help="notice that a new rate card must give (0)"
    )
    for name, default, text in _RULES:
        choices = text.split(" or ") if " or " in text else None
        kind = str if choices else int
        init.add_argument(
            f"--{name.replace('_', '-')}",
            type=kind,
            default=default,
            choices=choices,
            help=f"{text} ({default})",
        )
    init.add_argument(
        "--manual-clock", metavar="TIME", help="let the ledger clock stand at this ISO time until it is moved"
    )
    init.add_argument(
        "--operator",
        action="append",
        default=[],
        metavar="NAME=PUBLICKEY",
        help="a first operator and the base64url of her public key; twice at least, because two must agree",
    )
    init.set_defaults(run=_init)
    commands.add_parser("migrate", help="bring the schema to the newest version").set_defaults(run=_migrate)
    commands.add_parser("serve", help="answer calls until stopped").set_defaults(run=_serve)
    for noun, summary in NOUNS.items():  # for --help: `main` hands them to the console, a client of a hub
        commands.add_parser(noun, help=summary, add_help=False)
    return parser


@contextlib.contextmanager
def _database(settings: Settings) -> Iterator[tuple[str, Keeper | None]]:
    """The database's URL, and the embedded server, which runs as long as the context, where it is that."""
    if settings.database_url is not None:
        yield settings.database_url, None
        return
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with Keeper(settings.cluster_dir) as embedded:
        yield embedded.url, embedded


def _init(settings: Settings, options: argparse.Namespace) -> int:
    ledger = _new_ledger(options)
    people = [_first_person(text) for text in options.operator]
    names, keys = ({getattr(person, field) for person in people} for field in ("name", "public_key"))
    if len(people) < 2 or len(names) < len(people) or len(keys) < len(people):
        raise BadSetting("--operator: two people at least, each with a name and a key of her own")
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with _database(settings) as (url, _):
        migrate(url)
        private_key = _hub_key(settings)
        engine = open_engine(url, role=None)
        try:
            Registrar(engine).initialise(ledger, public_bytes(private_key), people)
            Membership(engine, Envelope(_contact_key(settings)), None).bind()
        finally:
            engine.dispose()
    write_public_keys(settings.hub_keys, [public_bytes(private_key)])
    print(json.dumps({"audience": ledger.audience, "hub_keys": str(settings.hub_keys)}))  # the answer
    return 0


def _hub_key(settings: Settings) -> Ed25519PrivateKey:
    return load_key(settings.hub_key) if settings.hub_key.exists() else create_key(settings.hub_key)


def _contact_key(settings: Settings) -> bytes:
    path = settings.contact_key
    return load_contact_key(path) if path.exists() else create_contact_key(path)


def _new_ledger(options: argparse.Namespace) -> NewLedger:
    try:
        ZoneInfo(options.zone)
    except (ZoneInfoNotFoundError, ValueError) as unknown:
        raise BadSetting(f"--zone: {options.zone!r} is no time zone") from unknown
    if not re.fullmatch("[A-Z]{3}", options.currency):
        raise BadSetting("--currency: three capital letters, as in ISO 4217")
    for name, lowest, highest in (
        ("minor_unit_digits", 0, 4),
        ("cut_off_seconds", 0, _DAY_SECONDS - 1),
        ("late_limit_seconds", 1, 366 * _DAY_SECONDS),
        ("card_notice_seconds", 0, 366 * _DAY_SECONDS),
        ("grace_days", 0, 3650),
        ("pending_days", 1, 3650),
        *((name, 0, MAX_POINTS * 1000) for name in Rules._fields[4:]),
    ):
        if not lowest <= getattr(options, name) <= highest:
            raise BadSetting(f"--{name.replace('_', '-')}: {lowest} to {highest}")
    return NewLedger(
        audience=checked_audience(options.audience),
        currency_code=options.currency,
        minor_unit_digits=options.minor_unit_digits,
        time_zone=options.zone,
        cut_off_seconds=options.cut_off_seconds,
        late_limit_seconds=options.late_limit_seconds,
        card_notice_seconds=options.card_notice_seconds,
        manual_time=_manual_time(options.manual_clock),
        rules=Rules(**{name: getattr(options, name) for name in Rules._fields}),
    )


def _manual_time(value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as malformed:
        raise BadSetting(f"--manual-clock: {value!r} is no ISO time") from malformed
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _first_person(value: str) -> FirstPerson:
    name, _, key = value.partition("=")
    try:
        public_key = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
    except (binascii.Error, ValueError) as malformed:
        raise BadSetting(f"--operator: the key of {name!r} is not base64url") from malformed
    if not name or len(public_key) != 32:
        raise BadSetting("--operator: NAME=PUBLICKEY, 32 bytes in base64url")
    return FirstPerson(name, public_key)


def _migrate(settings: Settings, _options: argparse.Namespace) -> int:
    with _database(settings) as (url, _):
        migrate(url)
    return 0


def _serve(settings: Settings, _: argparse.Namespace) -> int:
    require_tls_1_3()
    from exchange.server import serve  # gRPC reads the setting when it is first imported

    def ready(address: str) -> None:
        print(f"tongdui-hub serves {address}", flush=True)

    with _database(settings) as (url, embedded):
        uvloop.run(serve(settings, url, embedded, ready))
    return 0


if __name__ == "__main__":
    sys.exit(main())
