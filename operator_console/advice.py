"""What to do about a refusal, in the words of docs/errors.md, which this package holds a link to."""

import re
from pathlib import Path
from typing import Final

_WORDS: Final = Path(__file__).with_name("errors.md")
_ROW: Final = re.compile(r"^\| `(?P<reason>[A-Z_]+)` \|.*\| (?P<advice>[^|]+) \|$", re.MULTILINE)
_LINK: Final = re.compile(r"\[([^]]+)\]\([^)]*\)")


def advice(reason: str) -> str:
    """The column *what to do* of a reason's row as plain text; empty for a reason without one."""
    for row in _ROW.finditer(_WORDS.read_text(encoding="utf-8")):
        if row["reason"] == reason:
            return _LINK.sub(r"\1", row["advice"]).replace("`", "")
    return ""
