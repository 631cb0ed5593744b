"""Whether a text is JSON that satisfies a JSON schema, by the `jsonschema` library.

No schema of another address is fetched. `pattern` has a time limit, because a regular expression may take exponential
time; `patternProperties` is refused, because the library gives no place for a limit.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import regex

LIMIT_S = 0.1
UNLIMITED = "patternProperties"


def json_of(text: str) -> Any:
    """The JSON value that a text is, also between Markdown's fences. ValueError for another text."""
    try:
        return json.loads(re.sub(r"^```(?:json)?\s*|\s*```$", "", text.strip()))
    except RecursionError:
        raise ValueError("the JSON is nested too deep") from None


def satisfies(answer: str, schema: str) -> float:
    """1 where the answer is JSON that satisfies the schema, which is JSON itself; else 0."""
    from jsonschema.exceptions import ValidationError

    try:
        validator_of(schema).validate(json_of(answer))
    except (ValueError, ValidationError, TimeoutError, RecursionError, regex.error):
        return 0.0
    return 1.0


@lru_cache(maxsize=64)
def validator_of(schema: str) -> Any:
    """The validator of the draft that the schema names, else of 2020-12. It fetches nothing. ValueError for a text that
    is no JSON object, and for `patternProperties`."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError
    from jsonschema.validators import extend, validator_for
    from referencing import Registry

    def pattern(validator: Any, wanted: str, value: object, schema: object) -> Iterator[ValidationError]:
        if isinstance(value, str) and regex.search(wanted, value, timeout=LIMIT_S) is None:
            yield ValidationError(f"{value!r} does not match {wanted!r}")

    document = json.loads(schema)
    if not isinstance(document, dict):
        raise ValueError("a JSON schema is an object")
    if any(name == UNLIMITED for name, _ in keys_of(document)):
        raise ValueError(f"{UNLIMITED} has no time limit here: name the properties")
    kind = extend(validator_for(document, default=Draft202012Validator), {"pattern": pattern})
    return kind(document, registry=Registry())


def check_schema(schema: dict[str, Any]) -> None:
    """Raises ValueError for what is no JSON schema, and for one that could not be carried out."""
    from jsonschema.exceptions import SchemaError
    from referencing import Registry, Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    try:
        validator_of(json.dumps(schema)).check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"is no JSON schema: {error.json_path.replace('$', 'schema', 1)}: {error.message}") from None
    resource = Resource.from_contents(schema, default_specification=DRAFT202012)
    resolver = Registry().resolver_with_root(resource)
    for name, value in keys_of(schema):
        if name == "$ref" and isinstance(value, str):
            try:
                resolver.lookup(value)
            except Unresolvable:
                raise ValueError(f"$ref {value!r} leads nowhere: only parts of the same schema are read") from None


def keys_of(value: object) -> Iterator[tuple[str, object]]:
    """Every key of a JSON value with what it holds, at any depth."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name, inner
            yield from keys_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_of(inner)
