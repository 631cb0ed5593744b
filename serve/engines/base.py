"""The contract between the HTTP servers of our engines and the runtimes behind them: one protocol a kind of model.

A text engine takes token ids and gives token ids, one async generator a request. Decoding, stop strings, usage and JSON
are the server's business (`serve.engines.http`), so that an engine is only what differs between engines.
"""

import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from variants.vision.boxes import Box
from variants.vision.preprocess import Preprocess

Floats = npt.NDArray[np.float32]
Ids = Sequence[int]
Picture = npt.NDArray[np.uint8]
Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Scored:
    """A token where it stands in a prompt, or one that might stand there: its natural log probability, the model's own,
    and its rank among all tokens there, 1 the likeliest."""

    id: int
    logprob: float
    rank: int


Place = tuple[Scored, ...]
"""What was asked about one place of a prompt: its own token first, then the likeliest that are not it."""


@dataclass(frozen=True)
class Generation:
    """One request as an engine sees it. `top_logprobs` None means no logprobs at all, 0 the token's own
    alone.

    `temperature` 0 is greedy. `seed` None draws one. `prompt_logprobs` None means none, 0 those of the prompt's own
    tokens alone, n the n likeliest at each place besides. No end before `min_tokens`. A token of `stop_ids` ends
    the answer, as one of the model's own does. `allowed` are the only tokens to take, where there are any. An
    answer has the form of the JSON `schema`, or is one of the `wordings`, where they are given."""

    prompt: tuple[int, ...]
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()
    top_logprobs: int | None = None
    ignore_eos: bool = False
    prompt_logprobs: int | None = None
    min_tokens: int = 0
    stop_ids: tuple[int, ...] = ()
    allowed: tuple[int, ...] = ()
    schema: Mapping[str, Any] | None = None
    wordings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Token:
    """One new token. `finish` is set on the last one; log probabilities are natural and the model's own,
    before bias and temperature. `end` marks an end-of-sequence token, which has no text, or one of `stop_ids`. `prompt`
    comes with the first token where it was asked for: one entry a token of the prompt, None for the first, which
    nothing comes before."""

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    finish: Finish | None = None
    end: bool = False
    prompt: tuple[Place | None, ...] | None = None


class Decoder(Protocol):
    """Incremental decoding of one answer: text that has become certain with this token, or "" for now."""

    def step(self, token: int) -> str: ...


class TextEngine(Protocol):
    """`context` is the most tokens of a prompt and its answer together; `vocabulary` bounds token ids; `longest` is the
    most characters that one token stands for. `encode` and `chat_text` are called from any thread."""

    context: int
    vocabulary: int
    longest: int

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Token ids of a text; `special` adds what the tokenizer puts around a text."""
        ...

    def chat_text(self, messages: Sequence[dict[str, str]], *, begin: bool, proceed: bool) -> str:
        """A conversation, to be encoded as it is. With `begin` up to where the assistant's answer begins, with
        `proceed` up to the end of the last message, which the answer goes on with. Raises InputError."""
        ...

    def decoder(self, prompt: Sequence[int]) -> Decoder:
        """A decoder for the answer to `prompt`."""
        ...

    def piece(self, token: int) -> bytes:
        """What one token stands for by itself, for logprobs."""
        ...

    def generate(self, request: Generation) -> AsyncGenerator[list[Token], None]:
        """The answer's tokens as they come, one or more at a time; closing the generator ends the work. Raises
        InputError before the first, where the form that is asked for cannot be had."""
        ...


class Runtime(Protocol):
    """A model that is loaded.

    `platform` is the runtime's name in v2's metadata. `executes` is the precision that it computes in on this machine,
    which may differ from the artifact's. `computed_ns` is the time of all forward passes so far in nanoseconds, without
    pre- and postprocessing."""

    platform: str
    executes: str
    computed_ns: int


class ImageModel(Runtime, Protocol):
    """A classifier."""

    labels: tuple[str, ...]
    preprocess: Preprocess

    def predict(self, pixels: Floats, gone: threading.Event | None = None) -> Floats:
        """Probabilities [B, C] float32 of normalised images [B, 3, H, W] float32. Raises ClientLeft soon after `gone`
        is set."""
        ...


class DetectionModel(Runtime, Protocol):
    """A detector."""

    def find(self, image: bytes, field: str = "image", gone: threading.Event | None = None) -> list[Box]:
        """The boxes in an encoded image, surest first. Raises InputError naming `field`, and ClientLeft soon after
        `gone` is set."""
        ...


class Embedder(Runtime, Protocol):
    """A text encoder. `width` is the numbers of an embedding, `context` the most tokens of a text, `vocabulary` bounds
    token ids."""

    width: int
    context: int
    vocabulary: int

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, with what the tokenizer puts around one, however many."""
        ...

    def embed(self, batch: Sequence[Ids], gone: threading.Event | None = None) -> Floats:
        """Embeddings [B, width] float32, of length 1, of texts of up to `context` tokens each. Raises ClientLeft soon
        after `gone` is set."""
        ...


Draw = Callable[[int, int, threading.Event | None], Picture]
"""Gives the picture of a seed and an index: uint8 [height, width] in grey, or [height, width, 3] in colours. Raises
ClientLeft soon after the event is set."""


class Generator(Runtime, Protocol):
    """Draws pictures. `passes` is how many forward passes of the denoiser were computed so far. `parameters` are those
    of v2's metadata."""

    passes: int
    parameters: Mapping[str, Any]

    def drawing(self, prompt: str, size: str | None, steps: int | None) -> Draw:
        """How the pictures of a request are drawn; None is the model's own choice. Raises InputError that names the
        request's field."""
        ...
