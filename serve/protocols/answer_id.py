"""Ids of answers that can be scored later, and the scores.

An id says which build of which variant answered, why and when, and is signed, so that nothing has to be kept to know
that it is ours, and nobody can make one up: HMAC-SHA256 (RFC 2104) with a key that every server of this home shares.
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
FIELDS = ("model", "variant", "artifact", "reason", "time", "request")


class Issued(NamedTuple):
    """What an id says. `artifact` is a digest, `time` in seconds of the epoch, `request` the request's own id."""

    model: str
    variant: str
    artifact: str
    reason: str
    time: int
    request: str


@cache
def key_of(folder: Path) -> bytes:
    """The key of a home, made when first asked for; only its owner may read it."""
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
    said = "|".join((model, variant, artifact, reason, str(int(time.time())), request)).encode()
    return f"{encode(said)}.{encode(mac(said))}"


def read(signed: str) -> Issued:
    """What an id of ours says. Raises InputError for any other."""
    try:
        said, signature = (decode(part) for part in signed.split("."))
    except ValueError:
        said, signature = b"", b""
    if not said or not hmac.compare_digest(signature, mac(said)):
        raise InputError("is no id that this server has given out", field="id", mend=f"send the answer's {HEADER}")
    model, variant, artifact, reason, at, request = said.decode().split("|")
    return Issued(model, variant, artifact, reason, int(at), request)


def check_feedback(document: dict[str, Any]) -> dict[str, Any]:
    """`{"id", "score"}` with a score from 0 to 1, as the journal takes it. Raises InputError naming the field."""
    unknown = set(document) - {"id", "score"}
    if unknown:
        raise InputError(f"unknown key {min(unknown)!r}", field=min(unknown), mend="send id and score")
    signed, score = document.get("id"), document.get("score")
    if not isinstance(signed, str):
        raise InputError("is not a string", field="id", mend=f"send the answer's {HEADER}")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise InputError(f"{score!r} is no score", field="score", mend="a number from 0 (wrong) to 1 (right)")
    issued = read(signed)
    return {
        "id": issued.request,
        "model": issued.model,
        "variant": issued.variant,
        "artifact": issued.artifact,
        "reason": issued.reason,
        "score": round(float(score), 3),
    }


def mac(said: bytes) -> bytes:
    return hmac.new(key_of(home()), said, hashlib.sha256).digest()[:MAC_BYTES]


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
