"""The hub on the wire: bytes become commands, decisions become answers with signed receipts."""
