"""A set of names seen before, in bounded memory: the latest `LEAST` names, at most twice as many, as 64-bit hashes.

It holds two sets and drops the older one when the younger is full. Of a million names, two have the same hash with a
probability of about 1 in 40 million.
"""

import hashlib
from dataclasses import dataclass, field

LEAST = 250_000
"""About 70 bytes each."""


@dataclass
class SeenSet:
    young: set[int] = field(default_factory=set)
    old: set[int] = field(default_factory=set)

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
