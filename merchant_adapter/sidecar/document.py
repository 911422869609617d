"""The OpenAPI document: what FastAPI makes of the routes, and what the gate adds to all of them."""

from collections.abc import Iterator
from typing import Any

from merchant_adapter.sidecar.problems import Problem, described

_TOKEN = {"type": "http", "scheme": "bearer", "description": "The text of the sidecar's token file."}


def completed(made: dict[str, Any], without_token: frozenset[str] | None) -> dict[str, Any]:
    """The document with problems, and with the token; `without_token` are paths that need none, None if none does."""
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs") | {"Problem": problem}
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)  # FastAPI's own form of errors, which no route answers with
    if without_token is not None:
        made["components"]["securitySchemes"] = {"token": _TOKEN}
    for path, method, operation in operations(made):
        responses = operation["responses"]
        if without_token is not None and path not in without_token:
            operation["security"] = [{"token": []}]
            responses.setdefault("401", described("No token, or another one."))
        responses.setdefault("422", described("A field or a parameter that is unknown, or makes no sense."))
        if method == "post":
            responses.setdefault("413", described("The body is too long."))
            responses.setdefault("415", described("The body is of another kind."))
        operation["responses"] = dict(sorted(responses.items()))
    return made


def operations(made: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and description of every route."""
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            yield path, method, operation
