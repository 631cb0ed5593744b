"""Typed requests of a door: strict types, unknown fields refused by name. What asks for nothing is read as absent, by
the rules of the other routes (`serve.api.normalise`)."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails

from serve.api.normalise import MARKS, asks_nothing
from variants.document import Document
from variants.errors import InputError

IGNORED = {f"^({'|'.join(sorted(MARKS))})$": {"description": "Ignored: a mark for another vendor."}}
"""For a schema: fields that every part of a request may have."""


class Asked(Document):
    """A part of a request. A null field asks for nothing, so it is read as absent. So are gateways' marks and default
    values of fields that this part does not have."""

    model_config = ConfigDict(strict=True)

    @model_validator(mode="before")
    @classmethod
    def drop_what_asks_nothing(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            name: each
            for name, each in value.items()
            if each is not None and (name in cls.model_fields or not asks_nothing(name, each))
        }

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema says that a field which may be absent may be null, and that marks are ignored."""
        schema = handler(core)
        own = handler.resolve_ref_schema(schema)
        for name, field in own.get("properties", {}).items():
            if name not in own.get("required", ()) and {"type": "null"} not in field.get("anyOf", ()):
                own["properties"][name] = {"anyOf": [field, {"type": "null"}]}
        own["patternProperties"] = IGNORED
        return schema


class Direct(Asked):
    """The default of who calls a tool: the model itself, and no program of a hosted tool."""

    type: Literal["direct"]


Kind = TypeVar("Kind", bound=Asked)


def checked(kind: type[Kind], document: dict[str, Any]) -> Kind:
    """The document as a request. Raises InputError that names the field."""
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    # Of the faults of all union members, the one of the member that came nearest.
    fault = max(faults, key=lambda each: (depth(path_of(each, document)), not each["type"].endswith("_type")))
    field = path_of(fault, document)
    match fault["type"]:
        case "extra_forbidden":
            raise InputError("is not supported here", field=field, mend="leave it out")
        case "missing":
            raise InputError("is missing", field=field, mend="send it")
        case "union_tag_invalid":
            tag, known = fault["ctx"]["tag"], fault["ctx"]["expected_tags"].replace("'", "")
            raise InputError(f"the type {tag!r:.80} is not supported here", field=field, mend=f"types are {known}")
        case "union_tag_not_found":
            raise InputError("is not an object with a type", field=field, mend="send an object with a type")
    message = fault["msg"].removeprefix("Value error, ")
    raise InputError(f"{message}; {fault['input']!r:.80} was sent", field=field)


def depth(path: str) -> int:
    return path.count(".") + path.count("[")


def path_of(fault: ErrorDetails, document: Any) -> str:
    """Where pydantic found a fault, as a path in the document, such as `input[2].content`. Names of union members are
    left out: those of types, and the tag that an object has as its own `type`."""
    loc = fault["loc"]
    path, value, tagged = "", document, False
    for at, part in enumerate(loc):
        last = at == len(loc) - 1
        if isinstance(part, int):
            path += f"[{part}]"
            value = value[part] if isinstance(value, list) and part < len(value) else None
        elif isinstance(value, dict):
            if not last and not tagged and value.get("type") == part:
                tagged = True
                continue
            if part in value or (last and fault["type"] == "missing"):
                path += f".{part}"
                value = value.get(part)
        tagged = False
    return path.removeprefix(".") or "body"


def by_type(otherwise: str | None = None) -> Callable[[Any], Any]:
    """A discriminator that reads the field `type`; `otherwise` is the type of an object without one."""

    def type_of(value: Any) -> Any:
        if isinstance(value, Asked):
            return getattr(value, "type", otherwise)
        kind = value.get("type", otherwise) if isinstance(value, dict) else None
        return kind if isinstance(kind, str) else None

    return type_of
