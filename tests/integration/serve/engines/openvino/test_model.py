"""A compiled model whose passes are cancelled: the next answers are those of their own requests."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from serve.engines.openvino import model as engine
from serve.engines.openvino.model import Compiled
from serve.errors import ClientLeft

pytestmark = pytest.mark.integration
SIDE = 48


class Deep(torch.nn.Module):
    """Every row has the mean of its own image in it, through many layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = [torch.nn.Conv2d(16 if at else 3, 16, 3, padding=1) for at in range(24)]
        self.layers = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        row: torch.Tensor = self.layers(pixels) + pixels.mean(dim=(1, 2, 3)).unsqueeze(1)
        return row


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import openvino

    path = tmp_path_factory.mktemp("deep") / "model.xml"
    converted = openvino.convert_model(Deep().eval(), example_input=torch.zeros(1, 3, SIDE, SIDE))
    converted.reshape([-1, 3, SIDE, SIDE])
    openvino.save_model(converted, path, compress_to_fp16=False)
    return path


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(seed, size=(count, 3, SIDE, SIDE)).astype(np.float32)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("sizes", [(1, 24, 1), (2, 24, 2), (1, 24, 2), (24, 16, 24)])
def test_an_answer_after_a_cancelled_pass_has_its_own_rows(
    path: Path, precision: str, sizes: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "LOOK_MS", 1)
    before, left, after = (images(size, 1 + at) for at, size in enumerate(sizes))
    wanted = Compiled(path, precision, 1).run(after).copy()
    compiled, gone = Compiled(path, precision, 1), threading.Event()
    for _ in range(2):
        compiled.run(before)
        gone.set()
        with pytest.raises(ClientLeft):
            compiled.run(left, gone=gone)
        gone.clear()
        answer = compiled.run(after, gone=gone)
        assert answer.shape == wanted.shape
        np.testing.assert_allclose(answer, wanted, atol=1e-3)
