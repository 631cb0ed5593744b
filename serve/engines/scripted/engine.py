"""A deterministic engine with settable timing, for tests: all protocols, no weights, no torch.

**Text.** A token is up to four bytes of UTF-8, so characters may be split between tokens as real
tokenizers do. The answer repeats the prompt: from its first token when greedy, from a token that the seed
chooses otherwise. It ends after one round, or goes on for `max_tokens` with `ignore_eos`. A token with a
logit bias of -100 is passed over; where some bias is above 0, each token of the answer is one of those
with the highest: the first whose text occurs in the prompt, else one that the prompt's hash chooses, and with
`errs` another for that share of prompts. Log probabilities are made up, but the same each time: of a prompt's tokens,
one that came before in it is the likeliest. Where a form is asked for, the answer is the plainest JSON of that form, or
one of the wordings. What else bears on sampling (penalties, `top_k`, `min_p`) changes nothing, as nothing is sampled.

**Images.** Mean brightness, cut into as many bands as there are labels, is the class; it gets 0.9.

**Embeddings.** `scripted_embedder`; v2 speaks of them, and not of images, with `--task feature-extraction`. With
`--task text-classification` the first numbers of a text's embedding are the logits of the labels.
"""

import argparse
import asyncio
import codecs
import hashlib
import math
import os
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.engines.artifact import open_artifact
from serve.engines.base import Finish, Floats, Generation, Place, Scored, Token
from serve.engines.figures import PATH as METRICS
from serve.engines.http import embeddings as embedding_api
from serve.engines.http import images, server, text_classes
from serve.engines.http import text as text_api
from serve.engines.http.adapters import adapter_routes
from serve.engines.http.server import EngineFault
from serve.engines.scripted.embedder import ScriptedClassifier, ScriptedEmbedder, wait_unless
from serve.engines.scripted.statistics import Statistics
from serve.engines.scripted.structured import instance
from variants.vision.preprocess import Preprocess

TOKEN_BYTES = 4
END = 0
GARBAGE = int.from_bytes(b"\1\xff\xff\xff\xff", "big")
"""A token that is no text."""


@dataclass
class Script:
    """The timing, and the failures, counted over both protocols."""

    first_token_s: float
    token_s: float
    fail_after: int | None
    exit_after: int | None
    hang_after: int | None = None
    garble_after: int | None = None
    seen: int = 0

    @property
    def hangs(self) -> bool:
        return self.hang_after is not None and self.seen > self.hang_after

    @property
    def garbles(self) -> bool:
        return self.garble_after is not None and self.seen > self.garble_after

    def compute(self) -> bool:
        """`begin`, for a model that computes in a thread: it does not return where it hangs. Gives whether the answer
        has to be garbled."""
        self.begin()
        while self.hangs:
            time.sleep(1)
        return self.garbles

    def begin(self) -> None:
        """Count one request; raises EngineFault, or ends the process, when its time has come."""
        self.seen += 1
        if self.exit_after is not None and self.seen > self.exit_after:
            os._exit(1)
        if self.fail_after is not None and self.seen > self.fail_after:
            raise EngineFault(f"scripted to fail after {self.fail_after} requests")


@dataclass
class Utf8Decoder:
    """Whole characters as their bytes come in."""

    decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")(errors="replace")
    )

    def step(self, token: int) -> str:
        return self.decoder.decode(piece(token))


def piece(token: int) -> bytes:
    """The bytes of a token; a leading 1 in its id keeps their number."""
    return token.to_bytes(TOKEN_BYTES + 1, "big").lstrip(b"\0")[1:]


class ScriptedText:
    """The text engine."""

    vocabulary = 2 ** (8 * TOKEN_BYTES + 1)
    longest = TOKEN_BYTES

    def __init__(self, script: Script, context: int, errs: float = 0.0, loops: bool = False) -> None:
        self.script, self.context, self.errs, self.loops = script, context, errs, loops
        self.statistics = Statistics(context)

    def encode(self, text: str, *, special: bool) -> list[int]:
        data = text.encode()
        parts = (data[i : i + TOKEN_BYTES] for i in range(0, len(data), TOKEN_BYTES))
        return [int.from_bytes(b"\1" + part, "big") for part in parts]

    def chat_text(self, messages: Sequence[dict[str, str]], *, begin: bool, proceed: bool) -> str:
        turns = [f"{message['role']}: {message['content']}" for message in messages]
        return "\n".join([*turns, "assistant:"] if begin else turns if proceed else [*turns, ""])

    def decoder(self, prompt: Sequence[int]) -> Utf8Decoder:
        return Utf8Decoder()

    def piece(self, token: int) -> bytes:
        return piece(token)

    async def generate(self, request: Generation) -> AsyncGenerator[list[Token], None]:
        self.script.begin()
        if self.script.hangs:
            await asyncio.Event().wait()
        due = time.perf_counter() + self.script.first_token_s
        prompt = scored_prompt(request)
        with self.statistics.request(request.prompt):
            for token in self.tokens(request):
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                if self.script.garbles:
                    token = replace(token, id=GARBAGE, logprob=None if token.logprob is None else math.nan)
                yield [replace(token, prompt=prompt)]
                self.statistics.token()
                prompt = None
                due += self.script.token_s

    def tokens(self, request: Generation) -> Iterator[Token]:
        for made, token in enumerate(self.answer(request), start=1):
            if token in request.stop_ids and made > request.min_tokens:
                yield Token(token, *self.logprobs(token, request), finish="stop", end=True)
                return
            last = made == request.max_tokens
            yield self.dress(token, request, "length" if last else None)
            if last:
                return
        yield Token(END, *self.logprobs(END, request), finish="stop", end=True)

    def answer(self, request: Generation) -> Iterator[int]:
        """The tokens of the form that was asked for, else of the prompt."""
        if request.schema is None and not request.wordings:
            return answer_of(replace(request, ignore_eos=request.ignore_eos or self.loops), self.errs)
        chosen = request.wordings[number(0, request.prompt) % len(request.wordings)] if request.wordings else None
        return iter(self.encode(instance(request.schema or {}) if chosen is None else chosen, special=False))

    def dress(self, token: int, request: Generation, finish: Finish | None) -> Token:
        return Token(token, *self.logprobs(token, request), finish=finish)

    def logprobs(self, token: int, request: Generation) -> tuple[float | None, tuple[tuple[int, float], ...]]:
        """-0.25 for the token itself, then the prompt's first tokens at -2, -3, ..."""
        if request.top_logprobs is None:
            return None, ()
        others = [other for other in dict.fromkeys(request.prompt) if other != token]
        ranked = [(token, -0.25), *((other, -2.0 - rank) for rank, other in enumerate(others))]
        return -0.25, tuple(ranked[: request.top_logprobs])


def answer_of(request: Generation, errs: float = 0.0) -> Iterator[int]:
    """The answer's tokens, without end where `ignore_eos` says so."""
    bias = dict(request.logit_bias)
    favoured = max(bias.values(), default=0.0)
    if favoured > 0:
        source = [choose([token for token, value in bias.items() if value == favoured], request.prompt, errs)]
    else:
        start = 0 if request.temperature == 0 else number(request.seed, request.prompt) % len(request.prompt)
        rotated = request.prompt[start:] + request.prompt[:start]
        source = [token for token in rotated if bias.get(token, 0.0) > -100]
    if request.allowed:
        source = [token for token in source if token in request.allowed] or [request.allowed[0]]
    made = 0
    while source:
        yield from source
        made += len(source)
        if not request.ignore_eos and made >= request.min_tokens:
            return


def scored_prompt(request: Generation) -> tuple[Place | None, ...] | None:
    """-0.25 for a token that came before, -2 for a new one; the alternatives, at -3, -4, ..., are other tokens before
    it."""
    if request.prompt_logprobs is None:
        return None
    places: list[Place | None] = [None]
    for at, token in enumerate(request.prompt[1:], start=1):
        before = list(dict.fromkeys(request.prompt[:at]))
        own = Scored(token, -0.25, 1) if token in before else Scored(token, -2.0, 1)
        others = [other for other in before if other != token][: request.prompt_logprobs]
        places.append((own, *(Scored(other, -3.0 - rank, rank + 2) for rank, other in enumerate(others))))
    return tuple(places)


def choose(tokens: list[int], prompt: tuple[int, ...], errs: float = 0.0) -> int:
    text = b"".join(map(piece, prompt))
    spoken = [token for token in tokens if piece(token).strip() in text]
    answer = spoken[0] if spoken else sorted(tokens)[number(0, prompt) % len(tokens)]
    others = [token for token in tokens if token != answer]
    return others[0] if others and number(1, prompt) % 1000 < errs * 1000 else answer


def number(seed: int | None, prompt: tuple[int, ...]) -> int:
    """A number that the seed and the prompt alone determine; any number without a seed."""
    if seed is None:
        return secrets.randbits(32)
    return int.from_bytes(hashlib.sha256(f"{seed} {prompt}".encode()).digest()[:8], "big")


class ScriptedImages:
    """The image engine. `pixels` are 0 to 1, 32 x 32."""

    platform = "scripted"
    executes = "f32"
    preprocess = Preprocess(size=(32, 32), mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))

    def __init__(self, script: Script, labels: tuple[str, ...]) -> None:
        self.script, self.labels = script, labels
        self.computed_ns = 0

    def predict(self, pixels: Floats, gone: threading.Event | None = None) -> Floats:
        garbled = self.script.compute()
        wait_unless(gone, self.script.first_token_s)
        self.computed_ns += round(self.script.first_token_s * 1e9)
        classes = len(self.labels)
        bright = pixels.mean(axis=(1, 2, 3), dtype=np.float64)
        bands = np.clip(np.floor(bright * classes), 0, classes - 1).astype(int)
        scores = np.full((len(pixels), classes), 0.1 / max(classes - 1, 1), dtype=np.float32)
        scores[np.arange(len(pixels)), bands] = 0.9
        return np.full_like(scores, np.nan) if garbled else scores


def build(options: argparse.Namespace) -> ASGIApp:
    """All applications behind one port."""
    script = Script(
        options.first_token_s, options.token_s, options.fail_after, options.exit_after,
        options.hang_after, options.garble_after,
    )  # fmt: skip
    digest = open_artifact(options.artifact).digest if options.artifact else None
    names = {options.name}
    model = ScriptedText(script, options.context, options.errs, options.loops)
    text, statistics = text_api.build(model, names, digest), model.statistics.app
    text.routes.extend(adapter_routes(names, options.adapters + 1))
    encoder = ScriptedEmbedder(script.compute, options.first_token_s, options.context)
    embeddings = embedding_api.build(encoder, options.name, digest)
    labels = tuple(options.labels.split(","))
    tensors = images.build(ScriptedImages(script, labels), options.name)
    if options.task == "feature-extraction":
        tensors = embeddings
    elif options.task == "text-classification":
        classifier = ScriptedClassifier(script.compute, options.first_token_s, options.context, len(labels))
        tensors = text_classes.build(classifier, labels, options.name)
    time.sleep(options.startup_s)

    by_path: dict[str, ASGIApp] = {"/v1/embeddings": embeddings, METRICS: statistics}

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        app = tensors if path.startswith("/v2") else by_path.get(path, text)
        await app(scope, receive, send)

    return dispatch


def parser() -> argparse.ArgumentParser:
    arguments = server.arguments("a deterministic engine for tests", needs_artifact=False)
    arguments.add_argument("--context", type=int, default=2048, help="most tokens of a prompt and its answer")
    arguments.add_argument("--task", default="image-classification", help="what v2's tensors are about")
    arguments.add_argument("--labels", default="0,1,2,3,4,5,6,7,8,9", help="labels of images and texts, by comma")
    arguments.add_argument(
        "--first-token-s", type=float, default=0.0, help="to a text's first token, or an image's or embedding's"
    )
    arguments.add_argument("--token-s", type=float, default=0.0, help="from each token to the next")
    arguments.add_argument("--startup-s", type=float, default=0.0, help="before the port opens")
    arguments.add_argument("--errs", type=float, default=0.0, help="share of labelled prompts answered otherwise")
    arguments.add_argument("--loops", action="store_true", help="texts repeat until their limit")
    arguments.add_argument("--adapters", type=int, default=0, help="most adapters that may be loaded")
    arguments.add_argument("--fail-after", type=int, help="requests that succeed before all others get a 500")
    arguments.add_argument("--hang-after", type=int, help="requests that succeed before all others wait for ever")
    arguments.add_argument("--garble-after", type=int, help="requests that succeed before all others get NaN")
    arguments.add_argument("--exit-after", type=int, help="requests that succeed before the process ends itself")
    return arguments


def main() -> None:
    server.main(build, parser())


if __name__ == "__main__":
    main()
