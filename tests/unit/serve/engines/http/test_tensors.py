"""What holds for every v2 request: how long it may be, and that nothing is computed for nobody."""

import asyncio
import io
import json
import time
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from serve.engines.http.embeddings import EmbeddingApi
from serve.engines.http.images import SLICE, ImageApi
from serve.engines.scripted.embedder import ScriptedEmbedder
from serve.engines.scripted.engine import Script, ScriptedImages
from serve.protocols.open_inference import Tensor, bytes_tensor, encode_request
from variants.errors import InputError


def request(texts: int) -> bytes:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [texts], "data": ["a"] * texts}
    return json.dumps({"inputs": [tensor]}).encode()


def test_a_batch_is_bounded() -> None:
    api = EmbeddingApi(ScriptedEmbedder(lambda: None, 0.0, 64), "near", None)
    assert api.parsed(request(2048), None).inputs[0].shape == (2048,)
    with pytest.raises(InputError, match="2049 examples") as refused:
        api.parsed(request(2049), None)
    assert refused.value.field == "inputs[0].shape"


async def test_a_batch_whose_client_has_left_ends_with_the_pass_that_runs() -> None:
    api = ImageApi(ScriptedImages(Script(0.1, 0.0, None, None), ("0", "1")), "bands")
    pixels = np.zeros((20 * SLICE, 3, 32, 32), np.float32)
    body, length = encode_request([Tensor("pixels", "FP32", pixels)], binary=True)
    waiting = asyncio.ensure_future(api.work(body, str(length)))
    while api.passes < 2:
        await asyncio.sleep(0.01)
    waiting.cancel()
    begun = time.perf_counter()
    small, length = encode_request([Tensor("pixels", "FP32", pixels[:1])], binary=True)
    await api.work(small, str(length))
    assert time.perf_counter() - begun < 1  # its own pass and the one that ran; eighteen more would take 1.8 s
    assert api.passes <= 5


def png(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    return file.getvalue()


def images(files: Sequence[bytes]) -> tuple[bytes, str]:
    body, length = encode_request([bytes_tensor("image", files)], binary=True)
    return body, str(length)


def bands() -> ImageApi:
    return ImageApi(ScriptedImages(Script(0.0, 0.0, None, None), ("0", "1")), "bands")


async def test_a_batch_of_images_is_bounded_in_pixels_before_any_is_decoded() -> None:
    api = bands()
    with pytest.raises(InputError, match=r"at most 200 megapixels in one request") as refused:
        await api.work(*images([png(7000)] * 5))
    assert refused.value.field == "inputs[0].data"
    with pytest.raises(InputError, match=r"at most 50 megapixels") as refused:
        await api.work(*images([png(10), png(8000)]))
    assert refused.value.field == "inputs[0].data[1]"
    assert api.passes == 0


async def test_work_for_a_client_that_has_left_ends_with_the_image_that_is_read() -> None:
    """31 images of 6 megapixels take seconds to read, and none of them is computed before all are read."""
    api, small = bands(), images([png(10)])
    waiting = asyncio.ensure_future(api.work(*images([png(2500)] * 31)))
    await asyncio.sleep(0.3)
    waiting.cancel()
    begun = time.perf_counter()
    await api.work(*small)
    took = time.perf_counter() - begun
    assert api.passes == 1
    begun = time.perf_counter()
    await api.work(*images([png(2500)] * 31))
    assert took < (time.perf_counter() - begun) / 4
