"""The rate of the forward pass alone, in examples a second, by the engine's own clock. All other costs of a request are
left out."""

import json
import statistics
import time
from dataclasses import dataclass

import numpy as np

from serve.evaluation.engine_client import EngineClient
from serve.protocols.open_inference import HEADER_LENGTH, Tensor, bytes_tensor, encode_request
from variants.artifacts.manifest import Manifest
from variants.concurrency import together
from variants.tasks import Example
from variants.tasks.requests import Request

TEXTS = 8
IMAGES = 32
"""Examples in a batch. For images the rate rises up to this number, most of all in int8 (docs/decisions.md)."""
IN_FLIGHT = 2
"""Batches of images that are asked at a time. One waits while the other is computed, so few passes begin on an idle
CPU. Waiting texts would be put into one batch, so only one batch of texts is asked."""
ROUNDS, LEAST_ROUNDS, ROUND_S, LIMIT_S = 50, 5, 0.15, 10.0
TASKS = ("text-classification", "image-classification", "feature-extraction", "object-detection")
"""Tasks whose engines report the time of the forward pass, and take the batch that it is timed on."""


@dataclass(frozen=True)
class ForwardPass:
    """An engine, and the batch that it is asked again and again."""

    engine: EngineClient
    batch: Tensor

    async def rate(self, examples: float) -> float:
        """Examples a second over one round of about `examples`, in whole batches, at least two. Raises EngineError."""
        body, length = encode_request([self.batch], binary=True, binary_output=True)
        headers = {HEADER_LENGTH: str(length), "content-type": "application/octet-stream"}
        request = Request(f"/v2/models/{self.engine.model}/infer", headers, body)
        before = await computed(self.engine)
        left = iter(range(max(2, round(examples / self.batch.shape[0]))))

        async def ask() -> None:
            for _ in left:
                await self.engine.post(request)

        async with together() as group:
            for _ in range(1 if self.batch.name == "text" else IN_FLIGHT):
                group.create_task(ask())
        after = await computed(self.engine)
        return (after[0] - before[0]) / (after[1] - before[1]) * 1e9

    async def median_rate(self) -> float:
        """Examples a second: the median over as many rounds as there is time for. Raises EngineError."""
        rates: list[float] = []
        began = time.perf_counter()
        examples = ROUND_S * await self.rate(1)
        while len(rates) < ROUNDS and (len(rates) < LEAST_ROUNDS or time.perf_counter() - began < LIMIT_S):
            rates.append(await self.rate(examples))
        return statistics.median(rates)


def batch_for(manifest: Manifest, examples: list[Example]) -> Tensor:
    """The batch that the forward pass is timed on.

    A detector gets one image, BYTES [1]. Other image models get noise, FP32 [32, 3, height, width]. Text models get the
    texts of the examples, BYTES [n].
    """
    if manifest.detector is not None:
        return bytes_tensor("image", [example.input for example in examples[:1] if isinstance(example.input, bytes)])
    if manifest.preprocess is not None:
        pixels = np.random.default_rng(0).standard_normal((IMAGES, 3, *manifest.preprocess.size), dtype=np.float32)
        return Tensor("pixels", "FP32", pixels)
    texts = (example.input[0] if isinstance(example.input, tuple) else example.input for example in examples)
    return bytes_tensor("text", [text.encode() for text in texts if isinstance(text, str)])


async def computed(engine: EngineClient) -> tuple[int, int]:
    """How many examples the engine has computed so far, and in how many nanoseconds. Raises EngineError."""
    stats = json.loads(await engine.get(f"/v2/models/{engine.model}/stats"))["model_stats"][0]
    return stats["inference_count"], stats["inference_stats"]["compute_infer"]["ns"]
