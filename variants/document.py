"""The base class of every typed document: frozen, without unknown keys, with one canonical JSON form."""

import hashlib
import json
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from variants.errors import InputError

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="64 lower-case hex digits")]
# Strict, so that `weight: true` is not read as 1.
Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="a model's or variant's name")]


def exactly(kind: type) -> BeforeValidator:
    """For a literal of this type: pydantic compares with `==`, so 0 would be False, and true or 1.0 would be 1."""

    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"is not a {kind.__name__}")
        return value

    return BeforeValidator(check)


No = Annotated[Literal[False], exactly(bool)]


def canonical_sha256(data: Any) -> str:
    """The sha256 of `data` as canonical JSON: sorted keys, no spaces, ASCII."""
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def absent(given: object) -> bool:
    """For `exclude_if`: leaves a field that is None out of the JSON, so that older documents keep their digests."""
    return given is None


class Document(BaseModel):
    """A frozen model that refuses unknown keys. Files use the aliases of fields (`schema`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def to_json(self) -> bytes:
        """Indented JSON in field order, as UTF-8."""
        return (json.dumps(self.model_dump(mode="json", by_alias=True), indent=2) + "\n").encode()

    def canonical_sha256(self) -> str:
        """The sha256 of the canonical JSON. Equal documents have equal digests."""
        return canonical_sha256(self.model_dump(mode="json", by_alias=True))

    @classmethod
    def from_json(cls, data: bytes | str, origin: str) -> Self:
        """Parse a document. InputError names `origin` and the first wrong field."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            fault = explain(error)
            raise InputError(f"{origin} is not a valid {cls.__name__}: {fault.message}", field=fault.field) from error


class Fault(NamedTuple):
    """What is wrong with a document. `field` is a path like `speed.tests[0].n`, or None for the whole document.
    `message` and `type` are pydantic's. `input` is the value that was given."""

    field: str | None
    message: str
    type: str
    input: Any

    @property
    def is_unknown_key(self) -> bool:
        return self.type == "extra_forbidden"


def explain(error: ValidationError) -> Fault:
    """The first fault that pydantic reports."""
    finding = error.errors(include_url=False)[0]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in finding["loc"]).removeprefix(".")
    return Fault(path or None, finding["msg"].removeprefix("Value error, "), finding["type"], finding["input"])
