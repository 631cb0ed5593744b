"""Bounds on the structure of a JSON text, checked before it is parsed.

Parsing makes an object of each value, so a short text of many or deeply nested values costs far more memory and time
than its length suggests. The scan reads brackets, commas and colons outside strings, and stops at the first bound that
is exceeded. It does not check the syntax: the parser does. A text may come in pieces, for example while it is inflated.
"""

import re
from dataclasses import dataclass

from variants.errors import InputError

PIECE = 64 * 2**10
"""Bytes that are scanned by one call of a C function, which keeps Python's lock."""
IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
BRACKET = re.compile(rb"[\[\]{}]")
OPENING = b"[{"


@dataclass(frozen=True)
class Most:
    """The largest structure that is parsed: nested `levels`, `containers` (lists and objects), `keys` of all objects,
    and `values` of all lists and objects."""

    levels: int = 64
    containers: int = 2**15
    keys: int = 2**17
    values: int = 2**20


DOCUMENT = Most()
TENSORS = Most(values=2**23)
"""The head of an infer request, whose tensors may be lists of numbers."""


class Structure:
    """Scans one JSON text, piece by piece."""

    def __init__(self, most: Most = DOCUMENT) -> None:
        self.most = most
        self.depth = self.containers = self.keys = self.values = 0
        self.scanned = 0
        self.inside = self.escaped = False
        """Whether the last piece ended inside a string, and there after a backslash."""

    def feed(self, data: bytes) -> None:
        """Scan the next piece. Raises InputError where the text exceeds a bound."""
        self.scanned += len(data)
        at = self.end_of_string(data, 1 if self.escaped else 0) if self.inside and data else 0
        while not self.inside:
            quote = data.find(b'"', at)
            self.count(data, at, len(data) if quote < 0 else quote)
            if quote < 0:
                return
            at = self.end_of_string(data, quote + 1)

    def end_of_string(self, data: bytes, at: int) -> int:
        """The place after the string that holds the place `at`; notes whether it ends in this piece."""
        end = data.find(b'"', at)
        end = len(data) if end < 0 else end
        if data.find(b"\\", at, end) >= 0:  # the expression is twenty times as slow as a search
            match = IN_STRING.match(data, at)
            end = match.end() if match else len(data)
        self.escaped = end < len(data) and data[end : end + 1] == b"\\"
        self.inside = self.escaped or end >= len(data)
        return end + 1

    def count(self, data: bytes, start: int, stop: int) -> None:
        """Count what stands outside strings. Raises InputError."""
        opened = data.count(b"[", start, stop) + data.count(b"{", start, stop)
        self.containers += opened
        self.keys += data.count(b":", start, stop)
        self.values += opened + data.count(b",", start, stop)
        self.check("lists and objects", self.containers, self.most.containers)
        self.check("keys", self.keys, self.most.keys)
        self.check("values", self.values, self.most.values)
        if self.depth + opened <= self.most.levels:
            self.depth += opened - data.count(b"]", start, stop) - data.count(b"}", start, stop)
            return
        for bracket in BRACKET.finditer(data, start, stop):
            self.depth += 1 if bracket[0] in OPENING else -1
            self.check("nested levels", self.depth, self.most.levels)

    def check(self, what: str, number: int, most: int) -> None:
        if number > most:
            raise InputError(f"the JSON text has more than {most} {what}", mend="send less in one request")


def check_structure(text: bytes, structure: Structure) -> None:
    """Scan a whole JSON text, unless `structure` has scanned it while it was inflated. Raises InputError where it
    exceeds a bound."""
    if structure.scanned:
        return
    for at in range(0, len(text), PIECE):
        structure.feed(text[at : at + PIECE])
