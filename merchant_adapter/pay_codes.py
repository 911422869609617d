"""A pay code as a picture that a till can scan."""

import io

import segno

QR_PREFIX = "TONGDUI:"
"""What the hub puts before the 20 digits."""

_BORDER = 4
"""Light modules around the code, as ISO/IEC 18004 asks for."""


def to_svg(qr_text: str, *, scale: int = 8) -> bytes:
    """A QR code as SVG, `scale` pixels a module; a quarter of it may be covered or dirty (level Q)."""
    return _drawn(qr_text, "svg", scale)


def to_png(qr_text: str, *, scale: int = 8) -> bytes:
    """A QR code as PNG, black on white, `scale` pixels a module."""
    return _drawn(qr_text, "png", scale)


def digits_of(scanned: str) -> str:
    """The 20 digits of what a till scanned or somebody typed, spaces and hyphens between them or not.

    Raises ValueError where it is no pay code.
    """
    digits = scanned.strip().removeprefix(QR_PREFIX).replace(" ", "").replace("-", "")
    if len(digits) != 20 or not digits.isascii() or not digits.isdecimal():
        raise ValueError("a pay code has 20 digits")
    return digits


def _drawn(qr_text: str, kind: str, scale: int) -> bytes:
    drawn = io.BytesIO()
    code = segno.make(qr_text, error="q", boost_error=False, micro=False)
    code.save(drawn, kind=kind, scale=scale, border=_BORDER, light="#fff")
    return drawn.getvalue()
