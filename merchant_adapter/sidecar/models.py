"""The bodies of requests and answers, made from the SDK's own values, so that no field is written twice.

A body takes exactly the fields of its value: unknown ones are refused by name, a number is a number and never a text
or a boolean, a time has its zone, and bytes are in base64url.
"""

import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from inspect import cleandoc
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema, create_model

from merchant_adapter.json_object import from_base64url, to_base64url
from merchant_adapter.limits import EARLIEST_YEAR, LATEST_YEAR, NUMBERS, TEXTS

PRINTABLE_WORD = r"^[!-.0-~]{1,64}$"
"""Of what stands in a path: ASCII without space and slash."""

WITHOUT_NUL = r"^[^\x00]*$"
"""Of texts that are stored as they are: PostgreSQL has no NUL."""

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _time(value: object) -> datetime:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError("must be a time with its zone (RFC 3339), such as 2026-01-31T18:00:00+08:00")
    return _of_years(datetime.fromisoformat(value.upper()))


def _day(value: object) -> date:
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise ValueError("must be a day, such as 2026-01-31")
    return _of_years(date.fromisoformat(value))


_D = typing.TypeVar("_D", bound=date)


def _of_years(value: _D) -> _D:
    if not EARLIEST_YEAR <= value.year <= LATEST_YEAR:
        raise ValueError(f"must be of the years {EARLIEST_YEAR} to {LATEST_YEAR}")
    return value


def _octets(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError("must be text in base64url")  # noqa: TRY004  # pydantic turns only ValueErrors into answers
    return from_base64url(value)  # whose error is a ValueError


Time = Annotated[
    datetime,
    BeforeValidator(_time),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time in a request."""

Day = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]
"""A day in a request."""

Octets = Annotated[
    bytes, BeforeValidator(_octets), WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9_-]*={0,2}$"})
]
"""Bytes in a request."""

GivenTime = Annotated[
    datetime, PlainSerializer(lambda time: time.astimezone(UTC).isoformat(), return_type=str)
]
GivenOctets = Annotated[bytes, PlainSerializer(to_base64url, return_type=str)]

_GIVEN: Mapping[type, Any] = {datetime: GivenTime, bytes: GivenOctets}
_TAKEN: Mapping[type, Any] = {datetime: Time, date: Day, bytes: Octets}

_made: dict[tuple[str, type[Any], str], type[BaseModel]] = {}


def body_of(kind: type[Any], name: str = "", tag: str = "") -> type[BaseModel]:
    """The JSON body that becomes a `kind`: see `value_of`.

    `name` is its name in the OpenAPI document; with a `tag` it has the further field `command`, always this text.
    """
    return _once(("body", kind, tag), lambda: _body_of(kind, name, tag))


def _body_of(kind: type[Any], name: str, tag: str) -> type[BaseModel]:
    hints = typing.get_type_hints(kind)
    found: dict[str, Any] = {
        one.name: (_limited(_taken(hints[one.name]), one.name), _default(one)) for one in fields(kind)
    }
    tagged: dict[str, Any] = {"command": (Literal[tag], ...)} if tag else {}
    return create_model(
        name or kind.__name__,
        __config__=ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True),
        __doc__=cleandoc(kind.__doc__ or ""),
        **tagged,
        **found,
    )


def value_of(kind: type[Any], body: BaseModel) -> Any:
    """The value that a body of `body_of(kind)` says."""
    values = {one.name: getattr(body, one.name) for one in fields(kind)}
    for name, value in values.items():
        if isinstance(value, BaseModel):
            values[name] = value_of(_inner(typing.get_type_hints(kind)[name]), value)
    return kind(**values)


def answer_of(kind: type[Any]) -> type[BaseModel]:
    """The JSON of a `kind` in an answer: see `said`. Receipts are left out, they have a route of their own."""
    return _once(("answer", kind, ""), lambda: _answer_of(kind))


def _answer_of(kind: type[Any]) -> type[BaseModel]:
    hints = typing.get_type_hints(kind)
    found: dict[str, Any] = {
        one.name: (_given(hints[one.name]), ...) for one in fields(kind) if one.name != "receipt"
    }
    return create_model(
        kind.__name__,
        __config__=ConfigDict(from_attributes=True),
        __doc__=cleandoc(kind.__doc__ or ""),
        **found,
    )


def said(value: Any) -> dict[str, Any]:
    """A value of the SDK as the JSON of an answer."""
    return answer_of(type(value)).model_validate(value).model_dump(mode="json")


def _once(key: tuple[str, type[Any], str], make: Callable[[], type[BaseModel]]) -> type[BaseModel]:
    # Two models of one value would be two schemas of one name.
    if key not in _made:
        _made[key] = make()
    return _made[key]


def _taken(hint: Any) -> Any:
    return _mapped(hint, _TAKEN, body_of)


def _given(hint: Any) -> Any:
    return _mapped(hint, _GIVEN, answer_of)


def _mapped(hint: Any, known: Mapping[type, Any], model: Callable[[type[Any]], type[BaseModel]]) -> Any:
    if isinstance(hint, type) and is_dataclass(hint):
        return model(hint)
    if typing.get_origin(hint) in (Union, UnionType):
        return Union[tuple(_mapped(one, known, model) for one in typing.get_args(hint))]  # noqa: UP007  # not known until now
    if typing.get_origin(hint) is tuple:
        item, _ = typing.get_args(hint)
        return list[_mapped(item, known, model)]  # type: ignore[misc]  # made while it runs
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint
    return known.get(hint, hint)


def _limited(hint: Any, name: str) -> Any:
    if name in NUMBERS:
        limits: dict[str, Any] = dict(zip(("ge", "le"), NUMBERS[name], strict=True))
    elif name in TEXTS:
        limits = dict(zip(("min_length", "max_length"), TEXTS[name], strict=True))
    else:
        return hint
    if name == "request_id":  # which stands in paths
        limits = {"pattern": PRINTABLE_WORD}
    # The limits are of the value, not of its absence: they go inside `X | None`.
    options = typing.get_args(hint) if typing.get_origin(hint) in (Union, UnionType) else (hint,)
    limited = tuple(one if one is NoneType else Annotated[one, pydantic.Field(**limits)] for one in options)
    return Union[limited]  # noqa: UP007  # not known until now


def _default(one: Field[Any]) -> Any:
    if one.default_factory is not MISSING:
        return pydantic.Field(
            default_factory=one.default_factory,
            description="Names the decision: keep it, and a repeat is the same decision. One is made if there is none.",
        )
    return ... if one.default is MISSING else one.default


def _inner(hint: Any) -> type[Any]:
    (found,) = [one for one in typing.get_args(hint) or (hint,) if one is not NoneType]
    return typing.cast("type[Any]", found)
