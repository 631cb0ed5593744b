"""The forward pass alone: examples a second by the engine's own clock, without what a request costs besides."""

import json
import statistics
import time
from dataclasses import dataclass

import aiohttp
import numpy as np

from serve.evaluation.predictors import answered
from serve.protocols.open_inference import HEADER_LENGTH, Tensor, bytes_tensor, encode_request
from variants.artifacts.manifest import Manifest
from variants.concurrency import together
from variants.tasks import Example

TEXTS = 8
IMAGES = 32
"""Examples in a batch. Of images the rate rises up to there, most of all in int8 (docs/decisions.md)."""
IN_FLIGHT = 2
"""Batches of images asked at a time: one waits while the other is computed, so that few passes begin on a CPU that was
idle. Texts that wait are put into one batch, so only one of those is asked."""
ROUNDS, LEAST_ROUNDS, ROUND_S, LIMIT_S = 50, 5, 0.15, 10.0
TASKS = ("text-classification", "image-classification", "feature-extraction", "object-detection")
"""Those whose engines give the time of the forward pass, and take the batch of noise or texts that it is timed on."""


@dataclass(frozen=True)
class ForwardPass:
    """An engine, and the batch that it is asked again and again."""

    session: aiohttp.ClientSession
    url: str
    name: str
    batch: Tensor

    async def rate(self, examples: float) -> float:
        """Examples a second over one round of about so many, in whole batches, two at least. Raises EngineError."""
        body, length = encode_request([self.batch], binary=True, binary_output=True)
        headers = {HEADER_LENGTH: str(length), "content-type": "application/octet-stream"}
        before = await computed(self.session, self.url, self.name)
        left = iter(range(max(2, round(examples / self.batch.shape[0]))))

        async def ask() -> None:
            for _ in left:
                await answered(self.session.post(f"{self.url}/v2/models/{self.name}/infer", data=body, headers=headers))

        async with together() as group:
            for _ in range(1 if self.batch.name == "text" else IN_FLIGHT):
                group.create_task(ask())
        after = await computed(self.session, self.url, self.name)
        return (after[0] - before[0]) / (after[1] - before[1]) * 1e9

    async def median_rate(self) -> float:
        """Examples a second: the median of as many rounds as there is time for."""
        rates: list[float] = []
        began = time.perf_counter()
        examples = ROUND_S * await self.rate(1)
        while len(rates) < ROUNDS and (len(rates) < LEAST_ROUNDS or time.perf_counter() - began < LIMIT_S):
            rates.append(await self.rate(examples))
        return statistics.median(rates)


def batch_for(manifest: Manifest, examples: list[Example]) -> Tensor:
    """What the forward pass is timed on: noise of the model's size, the texts of the examples, or, for a detector, one
    image."""
    if manifest.detector is not None:
        return bytes_tensor("image", [example.input for example in examples[:1] if isinstance(example.input, bytes)])
    if manifest.preprocess is not None:
        pixels = np.random.default_rng(0).standard_normal((IMAGES, 3, *manifest.preprocess.size), dtype=np.float32)
        return Tensor("pixels", "FP32", pixels)
    texts = (example.input[0] if isinstance(example.input, tuple) else example.input for example in examples)
    return bytes_tensor("text", [text.encode() for text in texts if isinstance(text, str)])


async def computed(session: aiohttp.ClientSession, url: str, name: str) -> tuple[int, int]:
    """Examples computed so far, and the nanoseconds that it took."""
    body, _ = await answered(session.get(f"{url}/v2/models/{name}/stats"))
    found = json.loads(body)["model_stats"][0]
    return found["inference_count"], found["inference_stats"]["compute_infer"]["ns"]
