"""Signed ids of answers, and the feedback scores that refer to them.

An id contains the variant and build that answered, the reason and the time. It is signed with HMAC-SHA256 (RFC 2104)
and a key that all servers of this home share. So the server stores no ids, and nobody else can create one.
"""

import base64
import hashlib
import hmac
import os
import secrets
import time
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from variants.errors import InputError
from variants.files import locked
from variants.home import home

MAC_BYTES = 16
HEADER = "x-understudy-id"


class Issued(NamedTuple):
    """Contents of an id. `artifact` is a digest, `time` in seconds of the epoch, `request` the request's id."""

    model: str
    variant: str
    artifact: str
    reason: str
    time: int
    request: str


@cache
def key_of(folder: Path) -> bytes:
    """The key of a home, created at first use; only the owner of its file may read it."""
    path = folder / "feedback.key"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "feedback.lock"):
        if not path.exists():
            temporary = path.with_suffix(".tmp")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        return path.read_bytes()


def issue(model: str, variant: str, artifact: str, reason: str, request: str) -> str:
    """A signed id for one answer."""
    content = "|".join((model, variant, artifact, reason, str(int(time.time())), request)).encode()
    return f"{encode(content)}.{encode(mac(content))}"


def read(signed: str) -> Issued:
    """The contents of an id. Raises InputError for an invalid signature."""
    try:
        content, signature = (decode(part) for part in signed.split("."))
    except ValueError:
        content, signature = b"", b""
    if not content or not hmac.compare_digest(signature, mac(content)):
        raise InputError("is not an id that this server has issued", field="id", mend=f"send the answer's {HEADER}")
    model, variant, artifact, reason, at, request = content.decode().split("|")
    return Issued(model, variant, artifact, reason, int(at), request)


def check_feedback(document: dict[str, Any]) -> dict[str, Any]:
    """The journal's form of `{"id", "score"}` with a score from 0 to 1. Raises InputError naming the field."""
    unknown = set(document) - {"id", "score"}
    if unknown:
        raise InputError(f"unknown key {min(unknown)!r}", field=min(unknown), mend="send id and score")
    signed, score = document.get("id"), document.get("score")
    if not isinstance(signed, str):
        raise InputError("is not a string", field="id", mend=f"send the answer's {HEADER}")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise InputError(f"{score!r} is not a score", field="score", mend="a number from 0 (wrong) to 1 (right)")
    issued = read(signed)
    return {
        "id": issued.request,
        "model": issued.model,
        "variant": issued.variant,
        "artifact": issued.artifact,
        "reason": issued.reason,
        "score": round(float(score), 3),
    }


def mac(content: bytes) -> bytes:
    return hmac.new(key_of(home()), content, hashlib.sha256).digest()[:MAC_BYTES]


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
