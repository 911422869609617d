"""The OpenAPI document as a page for people: plain HTML, without scripts, from nowhere else."""

from collections.abc import Iterator
from html import escape
from typing import Any

from merchant_adapter.sidecar.document import operations

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222 }
code, pre { font: 13px/1.5 ui-monospace, monospace } pre { background: #f4f4f4; padding: .8em; overflow-x: auto }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top; padding: .2em 1em
.2em 0; border-bottom: 1px solid #ddd } summary { cursor: pointer } h2 { margin-top: 2em } .method { font-weight: bold }
"""
# Of fields of which exactly one is set, so that none is required, the one that an example shows.
_CHOSEN = frozenset({"eligible_spend_minor", "refunded_spend_minor", "earn_spend_minor", "phone"})


def page_of(document: dict[str, Any]) -> str:
    """The page."""
    info = document["info"]
    routes = "".join(_route(document, path, method, it) for path, method, it in operations(document))
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>"
        f"<h1>{escape(info['title'])}</h1><p>{escape(info.get('summary', ''))}</p>"
        "<p>For programs, code generators and consoles: <a href=openapi.json>openapi.json</a> (OpenAPI"
        f" {escape(document['openapi'])}).</p>"
        "<p>TOKEN is what stands in the sidecar's token file. Amounts are in minor units: 128.00 is 12800. What is not"
        " 200 or 202 is a problem (<code>application/problem+json</code>): <code>reason</code> is for programs,"
        f" <code>detail</code> for people, <code>fields</code> names what is wrong in the body.</p>{routes}"
    )


def _route(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> str:
    said = [f"<h2><code>{method.upper()} {escape(path)}</code></h2>"]
    said += [
        f"<p>{escape(str(operation[name]))}</p>" for name in ("summary", "description") if name in operation
    ]
    said += _parameters(operation)
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = _resolved(document, content.get("schema", {}))
        said += [f"<details><summary>Body: {escape(media_type)}</summary>{_fields(schema)}</details>"]
        said += (
            [f"<pre>{escape(_curl(document, path, operation, schema))}</pre>"]
            if "properties" in schema
            else []
        )
    said += [_answers(document, operation)]
    return "".join(said)


def _parameters(operation: dict[str, Any]) -> Iterator[str]:
    rows = [
        f"<tr><td><code>{escape(one['name'])}</code><td>{escape(one['in'])}<td>{escape(one.get('description', ''))}"
        for one in operation.get("parameters", [])
    ]
    if rows:
        yield f"<table>{''.join(rows)}</table>"


def _answers(document: dict[str, Any], operation: dict[str, Any]) -> str:
    rows = []
    for status, answer in operation["responses"].items():
        inside = ""
        for content in answer.get("content", {}).values():
            schema = _resolved(document, content.get("schema", {}))
            is_problem = schema.get("title") == "Problem"
            inside = "" if is_problem else _fields(schema)
        rows += [f"<tr><th>{escape(status)}<td>{escape(answer.get('description', ''))}{inside}"]
    return f"<details><summary>Answers</summary><table>{''.join(rows)}</table></details>"


def _fields(schema: dict[str, Any]) -> str:
    required = set(schema.get("required", []))
    rows = [
        f"<tr><td><code>{escape(name)}</code><td>{escape(_kind(one))}<td>{'' if name in required else 'optional'}"
        f"<td>{escape(_limits(one))}"
        for name, one in schema.get("properties", {}).items()
    ]
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _kind(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " or ".join(str(one) for one in schema["enum"])
    return str(schema.get("format") or schema.get("type") or "")


def _limits(schema: dict[str, Any]) -> str:
    found = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    names = ("minimum", "maximum", "minLength", "maxLength", "default", "description", "const")
    return "; ".join(
        f"{name} {_whole(one[name])}" if name != "description" else one[name]
        for one in ({**schema, **found[0]} if found else schema,)
        for name in names
        if one.get(name) not in (None, "")
    )


def _whole(value: object) -> object:
    """1000000000 for 1000000000.0, which a bound on whole numbers is in the document."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _curl(document: dict[str, Any], path: str, operation: dict[str, Any], schema: dict[str, Any]) -> str:
    headers = ["Authorization: Bearer TOKEN"] if "security" in operation else []
    headers += [f"{one['name']}: ..." for one in operation.get("parameters", []) if "Webhook" in one["name"]]
    given = "".join(f" -H '{one}'" for one in [*headers, "Content-Type: application/json"])
    return f"curl -X POST http://127.0.0.1:7480{path}{given} \\\n  -d '{_example(document, schema)}'"


def _example(document: dict[str, Any], schema: dict[str, Any]) -> str:
    schema = _resolved(
        document, next((schema[one][0] for one in ("anyOf", "oneOf") if one in schema), schema)
    )
    if "properties" in schema:
        shown = set(schema.get("required", [])) | _CHOSEN
        named = ((name, it) for name, it in schema["properties"].items() if name in shown)
        return "{" + ", ".join(f'"{name}": {_example(document, it)}' for name, it in named) + "}"
    if schema.get("format") == "date-time":
        return '"2026-01-31T18:00:00+08:00"'
    if "const" in schema or "enum" in schema:
        return f'"{schema.get("const") or schema["enum"][0]}"'
    if "items" in schema:
        return f"[{_example(document, schema['items'])}]"
    return {"integer": "1", "boolean": "false"}.get(schema.get("type", ""), '"..."')


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found
