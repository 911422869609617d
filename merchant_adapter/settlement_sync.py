"""The same client of settlement for code without an event loop."""

from collections.abc import Coroutine
from datetime import date
from typing import Any, Self, TypeVar

from merchant_adapter.channel import DEFAULT_TIMEOUT_SECONDS
from merchant_adapter.keys import FilePath, Key, SettlementKeys
from merchant_adapter.loop_thread import LoopThread
from merchant_adapter.partner_file import FileFormat
from merchant_adapter.reconciliation_client import UPLOAD_TIMEOUT_SECONDS, BreakQuery
from merchant_adapter.settlement_client import Settlement
from merchant_adapter.settlement_values import (
    BreakHistory,
    BreakPage,
    Certificate,
    Commented,
    Disputed,
    DisputePage,
    Evidence,
    FileAccepted,
    Reconciliation,
    SettledDayPage,
    Statement,
    StatementEntryPage,
)
from merchant_adapter.transport import Tls

R = TypeVar("R")


class SyncSettlement:
    """Settlement; each method does what `Settlement`'s of the same name does, and blocks.

    Use it with `with`; threads may share it. A call that is interrupted (Ctrl-C) is cancelled and its outcome is
    unknown.
    """

    def __init__(self, thread: LoopThread, settlement: Settlement) -> None:
        self._thread = thread
        self._settlement = settlement

    @classmethod
    def connect(
        cls,
        address: str,
        audience: str,
        *,
        key: Key | FilePath,
        settlement_keys: SettlementKeys | FilePath,
        tls: Tls | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> Self:
        """Settlement of the hub called `audience`; see `Settlement.connect`. Connects when first used."""

        async def open_settlement() -> Settlement:
            return Settlement.connect(
                address,
                audience,
                key=key,
                settlement_keys=settlement_keys,
                tls=tls,
                timeout_seconds=timeout_seconds,
            )

        thread = LoopThread("tongdui-settlement")
        try:
            return cls(thread, thread.run(open_settlement()))
        except BaseException:
            thread.stop()
            raise

    def days(self, *, page_size: int = 100, page_token: str = "") -> SettledDayPage:
        """A page (1 to 1,000) of business days and how far their settlement has come, newest first."""
        return self._run(self._settlement.days(page_size=page_size, page_token=page_token))

    def statement(self, window_date: date, *, partner_id: str = "") -> Statement:
        """The partner's statement of one day."""
        return self._run(self._settlement.statement(window_date, partner_id=partner_id))

    def certificate(self, window_date: date) -> Certificate:
        """The signed certificate of one day, for operators, finance and auditors: it states everybody's figures."""
        return self._run(self._settlement.certificate(window_date))

    def statement_entries(
        self,
        window_date: date,
        component: str,
        *,
        partner_id: str = "",
        page_size: int = 100,
        page_token: str = "",
    ) -> StatementEntryPage:
        """A page (1 to 1,000) of the entries behind one line of a statement, in the ledger's order."""
        return self._run(
            self._settlement.statement_entries(
                window_date, component, partner_id=partner_id, page_size=page_size, page_token=page_token
            )
        )

    def upload_partner_file(
        self,
        file: bytes | FilePath,
        business_date: date,
        file_format: FileFormat = FileFormat.CSV,
        *,
        control: bytes = b"",
        request_id: str = "",
        deadline_seconds: float = UPLOAD_TIMEOUT_SECONDS,
    ) -> FileAccepted:
        """Hands in the partner's record of one business day, from memory or from a file on disk."""
        return self._run(
            self._settlement.upload_partner_file(
                file,
                business_date,
                file_format,
                control=control,
                request_id=request_id,
                deadline_seconds=deadline_seconds,
            )
        )

    def reconciliation(self, window_date: date, *, partner_id: str = "") -> Reconciliation:
        """How the partner's file of a day compares with the hub's journal."""
        return self._run(self._settlement.reconciliation(window_date, partner_id=partner_id))

    def breaks(
        self, query: BreakQuery | None = None, *, page_size: int = 100, page_token: str = ""
    ) -> BreakPage:
        """A page (1 to 1,000) of breaks, oldest first."""
        return self._run(self._settlement.breaks(query, page_size=page_size, page_token=page_token))

    def break_history(self, break_id: int) -> BreakHistory:
        """A break with all that was done about it."""
        return self._run(self._settlement.break_history(break_id))

    def comment(
        self, break_id: int, text: str, *, evidence: Evidence | None = None, request_id: str = ""
    ) -> Commented:
        """Comments on one of the partner's breaks."""
        return self._run(self._settlement.comment(break_id, text, evidence=evidence, request_id=request_id))

    def open_dispute(
        self,
        break_id: int,
        against: str,
        claim: str,
        *,
        evidence: Evidence | None = None,
        request_id: str = "",
    ) -> Disputed:
        """Makes one of the partner's breaks a dispute with another partner."""
        return self._run(
            self._settlement.open_dispute(break_id, against, claim, evidence=evidence, request_id=request_id)
        )

    def answer_dispute(
        self, dispute_id: int, text: str, *, evidence: Evidence | None = None, request_id: str = ""
    ) -> Disputed:
        """Answers a dispute that was opened against the partner, before its deadline."""
        return self._run(
            self._settlement.answer_dispute(dispute_id, text, evidence=evidence, request_id=request_id)
        )

    def disputes(self, *, state: str = "", page_size: int = 100, page_token: str = "") -> DisputePage:
        """A page (1 to 1,000) of the disputes that the partner opened or that are against it, oldest first."""
        return self._run(self._settlement.disputes(state=state, page_size=page_size, page_token=page_token))

    def close(self) -> None:
        """Closes the connection; the outcome of calls still under way is unknown. May be called again."""
        if self._thread.is_running:
            self._run(self._settlement.close())
            self._thread.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        return self._thread.run(coroutine, "this SyncSettlement is closed")
