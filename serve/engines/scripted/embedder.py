"""A deterministic text encoder with settable timing, for tests.

A token is a word, its id a hash of it; the embedding is the sum of a made-up vector a word, scaled to length 1. So
texts that share words are near each other, and what is near is known beforehand."""

import hashlib
import threading
from collections.abc import Callable, Sequence

import numpy as np

from serve.engines.base import Floats, Ids
from serve.errors import ClientLeft

WIDTH = 32


class ScriptedEmbedder:
    """The embedding engine. `begin` counts a pass, and fails when its time has come; after True, numbers are NaN."""

    platform = "scripted"
    executes = "f32"
    width = WIDTH
    vocabulary = 2**16

    def __init__(self, begin: Callable[[], bool | None], pass_s: float, context: int) -> None:
        self.begin, self.pass_s, self.context = begin, pass_s, context
        self.computed_ns = 0

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [[int.from_bytes(hashed(word)[:2], "big") for word in text.split() or [text]] for text in texts]

    def embed(self, batch: Sequence[Ids], gone: threading.Event | None = None) -> Floats:
        garbled = self.begin()
        wait_unless(gone, self.pass_s)
        self.computed_ns += round(self.pass_s * 1e9)
        sums = np.stack([sum((vector(token) for token in ids), np.zeros(WIDTH)) for ids in batch])
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return (sums / lengths * (np.nan if garbled else 1)).astype(np.float32)


class ScriptedClassifier(ScriptedEmbedder):
    """The engine for classes of texts: the first `width` numbers of an embedding, at most 32, are its logits."""

    def __init__(self, begin: Callable[[], bool | None], pass_s: float, context: int, classes: int) -> None:
        super().__init__(begin, pass_s, context)
        self.width = classes

    def embed(self, batch: Sequence[Ids], gone: threading.Event | None = None) -> Floats:
        return super().embed(batch, gone)[:, : self.width]


def wait_unless(gone: threading.Event | None, seconds: float) -> None:
    """A pass of this length. Raises ClientLeft as soon as `gone` is set."""
    if (gone or threading.Event()).wait(seconds):
        raise ClientLeft("the client left before its request was computed")


def hashed(word: str) -> bytes:
    return hashlib.sha256(word.encode()).digest()


def vector(token: int) -> "np.ndarray":
    """32 made-up numbers between -1 and 1."""
    return np.frombuffer(hashed(str(token)), dtype=np.uint8) / 127.5 - 1
