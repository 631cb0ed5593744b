"""The classifier reads as torch's own layers would, and refuses what is no picture of its size."""

import io

import numpy as np
import pytest
from PIL import Image

from variants.errors import InputError, IntegrityError
from variants.tasks.digit_classifier import network
from variants.tasks.digit_classifier.network import SHAPES, DigitClassifier, pixels
from variants.tasks.digit_classifier.store import load_or_train, path_of


def made() -> DigitClassifier:
    draw = np.random.default_rng(1)
    return DigitClassifier(
        {name: draw.standard_normal(shape, dtype=np.float32) * 0.1 for name, shape in SHAPES.items()}
    )


def png(size: tuple[int, int] = (28, 28), seed: int = 0) -> bytes:
    grey = np.random.default_rng(seed).integers(0, 256, size[::-1], dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, format="PNG")
    return buffer.getvalue()


def test_it_computes_what_torch_does() -> None:
    import torch
    from torch.nn import functional

    reader, pictures = made(), [png(seed=seed) for seed in range(3)]
    weights = {name: torch.from_numpy(values) for name, values in reader.weights.items()}
    maps = torch.from_numpy(np.stack([pixels(picture) for picture in pictures]))[:, None]
    for layer in ("conv1", "conv2"):
        maps = functional.conv2d(maps, weights[f"{layer}.weight"], weights[f"{layer}.bias"])
        maps = functional.max_pool2d(functional.relu(maps), 2)
    hidden = functional.linear(maps.flatten(1), weights["hidden.weight"], weights["hidden.bias"]).relu()
    features = reader.features(pictures)
    assert (features.dtype, features.shape) == (np.float32, (3, 64))
    np.testing.assert_allclose(features, hidden.numpy(), rtol=1e-4, atol=1e-4)
    scores = functional.linear(hidden, weights["output.weight"], weights["output.bias"])
    assert reader.read_all(pictures) == [str(int(best)) for best in scores.argmax(1)]


def test_one_alone_is_read_as_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "BATCH", 2)
    reader, pictures = made(), [png(seed=seed) for seed in range(5)]
    assert reader.read_all(pictures) == [reader.read(picture) for picture in pictures]


@pytest.mark.parametrize(("picture", "says"), [(b"no PNG", "no picture"), (png((28, 32)), "28 x 32")])
def test_what_is_no_picture_of_28_by_28_is_refused(picture: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        made().read(picture)


@pytest.mark.parametrize("damage", [b"cut", None])
def test_a_file_that_is_no_judge_is_refused(damage: bytes | None, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = path_of(tmp_path)
    path.parent.mkdir()
    if damage is None:
        np.savez(path, other=np.zeros(3))
    else:
        path.write_bytes(damage)
    with pytest.raises(IntegrityError, match="delete it"):
        load_or_train(tmp_path)
