"""The plainest text that is valid under a JSON schema: the same each time, and no more than is required."""

import json
from collections.abc import Mapping
from typing import Any

from variants.errors import InputError

FIELD = "response_format"
ASIDE = frozenset(
    {"$defs", "$schema", "$id", "additionalProperties", "default", "definitions", "description", "examples", "strict",
     "title", "maxItems", "propertyOrdering"}
)  # fmt: skip
"""What the plainest value is never at odds with."""
KNOWN = frozenset(
    {"$ref", "anyOf", "const", "enum", "exclusiveMaximum", "exclusiveMinimum", "items", "maxLength", "maximum",
     "minItems", "minLength", "minimum", "oneOf", "prefixItems", "properties", "required", "type"}
)  # fmt: skip
DEPTH = 32
MOST = 256
"""Characters and items that a schema may require."""


def instance(schema: Mapping[str, Any]) -> str:
    """JSON that is valid under `schema`. Raises InputError for keywords that are not known here, and for schemas that
    contain themselves."""
    try:
        return json.dumps(value_of(schema, schema, 0))
    except (TypeError, AttributeError):
        raise refused("a schema with values of another type") from None


def value_of(schema: Any, root: Mapping[str, Any], depth: int) -> Any:
    if schema is True:
        return {}
    if not isinstance(schema, Mapping):
        raise refused(f"the schema {schema!r:.40}")
    if depth > DEPTH:
        raise refused("a schema that contains itself")
    for keyword in schema:
        if keyword not in KNOWN | ASIDE:
            raise refused(f"the schema's {keyword!r:.40}")
    if any(schema.get(name, 0) > MOST for name in ("minItems", "minLength")):
        raise refused(f"a minimum above {MOST}")
    if "$ref" in schema:
        return value_of(referred(str(schema["$ref"]), root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    for several in ("enum", "anyOf", "oneOf"):
        if several in schema:
            if not isinstance(schema[several], list) or not schema[several]:
                raise refused(f"an empty {several}")
            first = schema[several][0]
            return first if several == "enum" else value_of(first, root, depth + 1)
    return by_type(schema, root, depth)


def by_type(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: value_of(properties.get(name, True), root, depth + 1) for name in schema.get("required", ())}
    if kind == "array":
        given = schema.get("prefixItems", [])
        more = max(schema.get("minItems", 0) - len(given), 0)
        return [value_of(item, root, depth + 1) for item in [*given, *[schema.get("items", True)] * more]]
    if kind == "string":
        return "a" * schema.get("minLength", 0)
    if kind in ("integer", "number"):
        return number(schema)
    if kind in ("boolean", "null"):
        return False if kind == "boolean" else None
    raise refused(f"the schema's type {kind!r:.40}")


def number(schema: Mapping[str, Any]) -> float:
    """The whole number in the range that is nearest to 0."""
    least = max(schema.get("minimum", 0), schema.get("exclusiveMinimum", -1) + 1)
    most = min(schema.get("maximum", least), schema.get("exclusiveMaximum", least + 1) - 1)
    value: float = min(least, most)
    return value


def referred(reference: str, root: Mapping[str, Any]) -> Any:
    """What a reference within the document, such as `#/$defs/name`, means."""
    at: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        at = at.get(part) if isinstance(at, Mapping) else None
    if not reference.startswith("#") or at is None:
        raise refused(f"the reference {reference:.40}")
    return at


def refused(what: str) -> InputError:
    return InputError(f"{what} is not supported here", field=FIELD, mend="send a simpler schema")
