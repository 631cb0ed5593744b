"""A set of names seen before, in bounded memory: the latest `LEAST` names, at most twice as many, as 64-bit hashes.

It holds two sets and drops the older one when the younger is full. Of a million names, two have the same hash with a
probability of about 1 in 40 million.
"""

import base64
import hashlib
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, Any

import numpy as np
from pydantic import PlainSerializer, PlainValidator

LEAST = 250_000
"""About 70 bytes each."""
CHUNK = 5_000


class Copied:
    """A copy of a set's numbers. It is fast; `pack` takes ten times as long, and may run in another thread."""

    def __init__(self, keys: set[int]) -> None:
        self.keys = frozenset(keys)


def pack(copied: Copied) -> str:
    """64-bit numbers as text, 11 characters each: 64-bit little-endian integers in base64."""
    packed, left = bytearray(), iter(copied.keys)
    while chunk := list(islice(left, CHUNK)):  # in parts, so that other threads get their turn
        packed += np.array(chunk, dtype="<u8").tobytes()
    return base64.b64encode(packed).decode()


def unpack(text: str) -> set[int]:
    """The reverse of `pack`. Raises ValueError."""
    numbers: list[int] = np.frombuffer(base64.b64decode(text, validate=True), dtype="<u8").tolist()
    return set(numbers)


Keys = Annotated[set[int], PlainValidator(unpack), PlainSerializer(Copied, return_type=Any)]


@dataclass
class SeenSet:
    young: Keys = field(default_factory=set)
    old: Keys = field(default_factory=set)

    def __contains__(self, name: str) -> bool:
        key = key_of(name)
        return key in self.young or key in self.old

    def add(self, name: str) -> bool:
        """Add a name. Gives whether it was new."""
        if name in self:
            return False
        if len(self.young) >= LEAST:
            self.young, self.old = set(), self.young
        self.young.add(key_of(name))
        return True


def key_of(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest(), "big")
