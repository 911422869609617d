"""The operator's console: the commands of `tongdui-hub` by which the operator's people run a coalition.

It is a client like any other: it signs with the key of the person who runs it, calls the hub over gRPC, verifies
the hub's receipts, and never sees the database. It stands on `merchant_adapter` for all of that.
"""

from typing import Final

NOUNS: Final = {
    "partner": "create and list partners",
    "key": "challenge, register, approve, revoke and list keys",
    "card": "propose, preview, approve, withdraw and read rate cards",
    "member": "read members' accounts; freeze, close and merge them; set consents",
    "adjust": "propose, approve, withdraw and list corrections",
    "clock": "read the ledger and its clock, and move a manual one",
    "expire": "show what will expire when, and whom to warn",
}
"""The commands and what they are for. Importing this loads no gRPC, which reads its settings only once."""
