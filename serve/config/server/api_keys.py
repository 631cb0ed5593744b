"""API keys: what the stack file says of them, and who owns a given one.

The stack file has the SHA-256 of each key (`server.keys`), so that no file, log or journal holds a key. Without keys,
every client may use every endpoint.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from serve.errors import Unauthorized
from variants.document import Document, Sha256

Right = Literal["infer", "label", "feedback", "admin"]
"""`infer`: requests to models. `label`: labelled requests (`x-understudy-label`). `feedback`: `/v1/feedback`. `admin`:
everything below `/admin`."""
CLIENT: tuple[Right, ...] = ("infer", "label", "feedback")
MOST = 10**9
DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
Count = Annotated[int, Field(strict=True, ge=1, le=MOST)]


def as_list(given: Any) -> Any:
    return [given] if isinstance(given, str) else given


def as_day(given: Any) -> Any:
    """Raises ValueError for what is not a date. pydantic would read a number as seconds since 1970."""
    if given is None or (isinstance(given, date) and not isinstance(given, datetime)):
        return given
    if not isinstance(given, str) or not DAY.fullmatch(given):
        raise ValueError("is not a date: write it as 2027-12-31")
    return given


class KeyLimits(Document):
    """The most that a key may use, in each ingress. Left out: no limit. Requests below `/admin` do not count."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = Field(default=None, description="of prompts and answers of text and embeddings")
    concurrency: Count | None = Field(default=None, description="requests at once")


class Key(Document):
    """One key. Two hashes under one name serve while clients change from one to the other.

    `shadow: off` excludes its requests from replays. `expires` is the last day on which it is accepted, in UTC. Until
    2026-11-30 a key had `admin` instead of `rights`: `admin: true` now means all rights, `false` all but `admin`."""

    sha256: Annotated[tuple[Sha256, ...], BeforeValidator(as_list), Field(min_length=1, max_length=2)]
    shadow: Annotated[bool, Field(strict=True)] = True
    rights: tuple[Right, ...] = Field(default=CLIENT, min_length=1, description="default: all but admin")
    limits: KeyLimits = KeyLimits()
    expires: Annotated[date | None, BeforeValidator(as_day)] = None

    @model_validator(mode="before")
    @classmethod
    def read_former_admin(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "admin" not in data:
            return data
        if "rights" in data:
            raise ValueError("has both admin and rights: leave admin out, and name it in rights")
        if not isinstance(data["admin"], bool):
            raise ValueError("admin is neither true nor false: give rights instead")
        kept = {name: value for name, value in data.items() if name != "admin"}
        return kept | ({"rights": get_args(Right)} if data["admin"] else {})

    @model_serializer(mode="wrap")
    def leave_default_rights_out(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Rights that were not given are not written, so that a stack that is applied or recorded says the same."""
        document: dict[str, Any] = handler(self)
        return {name: value for name, value in document.items() if name != "rights" or self.has_given_rights}

    @property
    def has_given_rights(self) -> bool:
        return "rights" in self.model_fields_set

    @property
    def is_trusted_to_label(self) -> bool:
        """Whether the stack file names the right `label` of this key. Those that have it by default are clients like
        others."""
        return self.has_given_rights and "label" in self.rights

    @field_validator("sha256", "rights")
    @classmethod
    def check_once(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(given)) < len(given):
            raise ValueError("names the same twice: leave one out")
        return given

    def has_expired(self) -> bool:
        return self.expires is not None and datetime.now(UTC).date() > self.expires


def name_of(authorization: str | None, keys: Mapping[str, Key]) -> str:
    """The name of the key's owner, in constant time for all keys. Raises Unauthorized."""
    scheme, _, key = (authorization or "").partition(" ")
    given = hashlib.sha256(key.strip().encode("latin-1")).hexdigest()
    hashes = [(name, each) for name, known in keys.items() for each in known.sha256]
    names = [name for name, each in hashes if hmac.compare_digest(each, given)]
    if scheme.lower() != "bearer" or not key.strip() or not names:
        message = "the API key is unknown" if authorization else "the API key is missing"
        raise Unauthorized(message, field="Authorization", mend="send Authorization: Bearer KEY")
    return names[0]
