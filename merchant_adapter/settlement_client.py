"""The typed client of settlement: hands files in, reads statements, works on breaks. Values in and values out."""

from datetime import date
from typing import Self

from merchant_adapter import methods
from merchant_adapter.channel import DEFAULT_TIMEOUT_SECONDS, SignedChannel
from merchant_adapter.from_settlement import from_days, from_statement, from_statement_entries
from merchant_adapter.keys import FilePath, Key, SettlementKeys
from merchant_adapter.reconciliation_client import ReconciliationCalls
from merchant_adapter.settlement_values import Certificate, SettledDayPage, Statement, StatementEntryPage
from merchant_adapter.to_settlement import message_of, to_date
from merchant_adapter.transport import Tls
from tongdui.settlement.v1 import settlement_service_pb2 as settling


class Settlement(ReconciliationCalls):
    """Settlement, seen by the owner of one key. Use it with `async with`; calls may run side by side.

    Every method raises HubError (see `merchant_adapter.errors`) where the answer is no acceptance. A partner sees its
    own; `partner_id` is for keys of operators, finance and auditors. Nothing is retried here: repeat a write with its
    `request_id`.
    """

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
        """Settlement of the hub called `audience`, at its own `address`; see `SignedChannel.open`.

        `settlement_keys` are the public keys that its receipts are checked against, or their file.
        """
        known = settlement_keys
        if not isinstance(known, SettlementKeys):
            known = SettlementKeys.load(known)
        return cls(
            SignedChannel.open(
                address, audience, key=key, hub_keys=known, tls=tls, timeout_seconds=timeout_seconds
            )
        )

    async def days(self, *, page_size: int = 100, page_token: str = "") -> SettledDayPage:
        """A page (1 to 1,000) of business days and how far their settlement has come, newest first."""
        request = message_of(settling.ListSettlementsRequest, page_size=page_size, page_token=page_token)
        return await self._read(
            methods.LIST_SETTLEMENTS, request, settling.ListSettlementsResponse, from_days
        )

    async def statement(self, window_date: date, *, partner_id: str = "") -> Statement:
        """The partner's statement of one day."""
        request = message_of(
            settling.GetStatementRequest, window_date=to_date(window_date), partner_id=partner_id
        )
        return await self._proven(
            methods.GET_STATEMENT, request, settling.GetStatementResponse, from_statement
        )

    async def certificate(self, window_date: date) -> Certificate:
        """The signed certificate of one day, for operators, finance and auditors: it states everybody's figures."""
        request = message_of(settling.GetCertificateRequest, window_date=to_date(window_date))

        return await self._read(
            methods.GET_CERTIFICATE,
            request,
            settling.GetCertificateResponse,
            lambda message: Certificate(window_date, message.certificate),
        )

    async def statement_entries(
        self,
        window_date: date,
        component: str,
        *,
        partner_id: str = "",
        page_size: int = 100,
        page_token: str = "",
    ) -> StatementEntryPage:
        """A page (1 to 1,000) of the entries behind one line of a statement, in the ledger's order."""
        request = message_of(
            settling.ListStatementEntriesRequest,
            window_date=to_date(window_date),
            partner_id=partner_id,
            component=component,
            page_size=page_size,
            page_token=page_token,
        )
        return await self._read(
            methods.LIST_STATEMENT_ENTRIES,
            request,
            settling.ListStatementEntriesResponse,
            from_statement_entries,
        )

    async def close(self) -> None:
        """Closes the connection; the outcome of calls still under way is unknown."""
        await self.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
