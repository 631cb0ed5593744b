"""Which names came before, in bounded memory: at least the latest `LEAST`, at most twice as many, by 64-bit hashes.

Two sets, and the older is forgotten when the younger is full. Of a million names one is taken for another with
probability about 1 in 40 million.
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
        """Whether the name is new; from now on it is not."""
        if name in self:
            return False
        if len(self.young) >= LEAST:
            self.young, self.old = set(), self.young
        self.young.add(key_of(name))
        return True


def key_of(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest(), "big")
