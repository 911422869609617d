"""`tongdui-settle`: settles business days. `tongdui-settle --help` lists commands, exit codes and settings."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from settlement.command_line import arguments as args
from settlement.command_line import (
    auditing,
    contracting,
    daily,
    desk,
    desk_corrections,
    drill,
    evidence,
    finance,
    judging,
    paying,
    proving,
    reconciling,
    restating,
    shows,
    steps,
    upkeep,
    verification,
)
from settlement.command_line.screen import make_console
from settlement.command_line.session import Misconfigured, NotThere, Session
from settlement.contracts import ContractRefused
from settlement.core.adjusting import NothingToPost
from settlement.core.break_state import BreakActRefused
from settlement.core.evidence import EvidenceWrong
from settlement.core.journal_audit import JournalDiffers
from settlement.core.mapping import ProfileInvalid
from settlement.core.matching import RulesInvalid
from settlement.core.partner_file import FileRefused
from settlement.core.payments import PaymentOutOfOrder, ResultsRefused
from settlement.core.recount import HistoryDiffers
from settlement.core.roles import PersonUnknown, RoleMissing, SamePerson
from settlement.core.run_state import StepOutOfOrder
from settlement.core.window import ReceiptInvalid
from settlement.daily_run import ChecksFailed, ResultDiffers
from settlement.desk import BreakUnknown
from settlement.payments import PaymentUnknown
from settlement.reconciliation import ReconciliationDiffers, TooManyDifferences
from settlement.rpc.hub_client import HubRefused, HubUnreachable
from settlement.rpc.keys import KeyFileError
from settlement.rpc.transport import CannotListen
from settlement.settings import SETTINGS, SettingMissing, Settings
from settlement.store.engine import AnotherRun
from settlement.store.feed import LedgerMissing, NumberUnknown
from settlement.store.positions import WindowsMissing
from settlement.store.reads import DatabaseUnavailable
from settlement.waivers import WaiverRefused
from tongdui.signing import SignatureMalformed

_COMMANDS: Final[Mapping[str, Callable[[Session, Namespace], None]]] = {
    "close": steps.close,
    "net": steps.net,
    "certify": steps.certify,
    "run": steps.run,
    "statement": shows.statement,
    "matrix": shows.matrix,
    "certificate": shows.certificate,
    "lines": drill.lines,
    "entry": drill.entry,
    "rollforward": finance.rollforward,
    "exposure": finance.exposure,
    "ageing": finance.ageing,
    "evidence": evidence.evidence,
    "verify": verification.verify,
    "approve": judging.approve,
    "abort": judging.abort,
    "export": paying.export,
    "runs": judging.show_runs,
    "payments": paying.show_payments,
    "payment show": paying.show_payment,
    "payment mark": paying.mark,
    "payment default": paying.approve_default,
    "payment import": paying.import_results,
    "settle": paying.settle,
    "contract set": contracting.set_contract,
    "contract list": contracting.list_contracts,
    "restate": restating.restate,
    "load": reconciling.load,
    "reconcile": reconciling.run_reconcile,
    "waive": reconciling.waive,
    "profile set": reconciling.profile_set,
    "profile show": reconciling.profile_show,
    "daily": daily.daily,
    "breaks": desk.breaks,
    "break show": desk.show,
    "break assign": desk.assign,
    "break comment": desk.comment,
    "break resolve": desk.resolve,
    "break adjust": desk_corrections.adjust,
    "break approve": desk_corrections.approve,
    "break reject": desk_corrections.reject,
    "break withdraw": desk_corrections.withdraw,
    "break reopen": desk.reopen,
    "dispute list": desk.list_disputes,
    "dispute open": desk.open_dispute,
    "dispute answer": desk.answer_dispute,
    "dispute decide": desk.decide_dispute,
    "people": auditing.people,
    "audit": auditing.audit,
    "audit-journal": proving.audit_journal,
    "check": proving.check,
    "migrate": upkeep.migrate_database,
    "keygen": upkeep.keygen,
    "public-key": upkeep.public_key,
    "serve": upkeep.serve,
}

_EXIT_CODES: Final[tuple[tuple[type[Exception], int], ...]] = (
    (ChecksFailed, args.CHECK_FAILED),
    (ResultDiffers, args.CHECK_FAILED),
    (JournalDiffers, args.CHECK_FAILED),
    (HistoryDiffers, args.CHECK_FAILED),
    (NumberUnknown, args.CHECK_FAILED),
    (FileRefused, args.CHECK_FAILED),
    (TooManyDifferences, args.CHECK_FAILED),
    (ReconciliationDiffers, args.CHECK_FAILED),
    (ProfileInvalid, args.USAGE),
    (RulesInvalid, args.USAGE),
    (WaiverRefused, args.USAGE),
    (reconciling.Unexplained, args.DECISION),
    (ResultsRefused, args.CHECK_FAILED),
    (EvidenceWrong, args.CHECK_FAILED),
    (finance.RollForwardOpen, args.CHECK_FAILED),
    (auditing.AuditBroken, args.CHECK_FAILED),
    (SettingMissing, args.USAGE),
    (Misconfigured, args.USAGE),
    (KeyFileError, args.USAGE),
    (SignatureMalformed, args.USAGE),  # an audience or key id that cannot be one
    (LedgerMissing, args.USAGE),
    (CannotListen, args.USAGE),
    (OSError, args.USAGE),  # a file named on the command line
    (ContractRefused, args.USAGE),
    (StepOutOfOrder, args.NOT_YET),
    (PaymentUnknown, args.NOT_YET),
    (PaymentOutOfOrder, args.NOT_YET),
    (NotThere, args.NOT_YET),
    (BreakUnknown, args.NOT_YET),
    (WindowsMissing, args.NOT_YET),
    (HubUnreachable, args.UNREACHABLE),
    (DatabaseUnavailable, args.UNREACHABLE),
    (HubRefused, args.REFUSED),
    (RoleMissing, args.REFUSED),
    (SamePerson, args.REFUSED),
    (PersonUnknown, args.REFUSED),
    (BreakActRefused, args.REFUSED),
    (NothingToPost, args.REFUSED),
    (desk_corrections.Declined, args.REFUSED),
    (daily.DecisionsDue, args.DECISION),
    (ReceiptInvalid, args.REFUSED),
    (AnotherRun, args.BUSY),
)

_UNPREPARED: Final = ("42P01", "3F000", "42703", "42501", "22023", "42704")
"""SQLSTATEs of a schema, table, column, privilege or role that is not there."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code, as `--help` explains it."""
    arguments = args.make_parser().parse_args(argv)
    settings = Settings({name: getattr(arguments, name, None) for name in SETTINGS})
    try:
        _COMMANDS[arguments.command](Session(settings, make_console(), arguments.json), arguments)
    except DBAPIError as error:
        return _database_problem(error)
    except KeyboardInterrupt:
        return _say("interrupted; what was committed stands, run the same command again", 130)
    except tuple(kind for kind, _ in _EXIT_CODES) as problem:
        return _say(str(problem), next(code for kind, code in _EXIT_CODES if isinstance(problem, kind)))
    return args.DONE


def _database_problem(error: DBAPIError) -> int:
    state = getattr(error.orig, "sqlstate", None)
    first_line = str(error.orig).partition("\n")[0]
    if state in _UNPREPARED:
        return _say(f"the database is not prepared ({first_line}); run `tongdui-settle migrate`", args.USAGE)
    if state is None and isinstance(error, ProgrammingError):
        return _say(f"DATABASE_URL or --database: {first_line}", args.USAGE)
    if isinstance(error, OperationalError):
        return _say(f"the database cannot be reached: {first_line}", args.UNREACHABLE)
    raise error


def _say(message: str, code: int) -> int:
    print(f"tongdui-settle: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
