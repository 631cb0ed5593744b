"""An image generator without training: its denoiser knows ten pictures, and its sampler reaches them exactly.

Whatever noise it starts from, the velocity is the one that leads to the picture of the label. So what is drawn, and
what a judge reads in it, is known beforehand, through the real engine.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from serve.config.loader import parse
from serve.config.stack import Stack
from variants import tasks
from variants.artifacts.manifest import Manifest
from variants.artifacts.store import Artifact, Store, entries
from variants.files import digest_of
from variants.recipes.recipe import Baseline
from variants.tasks.digit_classifier.network import SIDE, DigitClassifier, pixels
from variants.tasks.digit_classifier.store import load_or_train
from variants.vision.diffusion_sampler import FILE, Sampler

LABELS = tuple("0123456789")
SAMPLER = Sampler(side=SIDE, timesteps=(999, 666, 333), alphas=(0.0, 0.25, 0.75))
VARIANTS = {"baseline": LABELS, "int8": (*LABELS[:8], "3", "4")}
"""What each variant draws for each label: `int8` draws a 3 where an 8 is asked for, and a 4 for a 9."""


def real_digits(reader: DigitClassifier | None = None) -> dict[str, np.ndarray]:
    """One picture a label, float32 [28, 28] in -1 to 1: the first real one that the judge reads rightly."""
    reader, pictures = reader or load_or_train(), {}
    for example in tasks.get("mnist").examples("test", 200):
        assert isinstance(example.input, bytes)
        if example.label not in pictures and reader.read(example.input) == example.label:
            pictures[example.label] = pixels(example.input) * 2 - 1
    return pictures


def write_generator(folder: Path, pictures: list[np.ndarray]) -> None:
    """model.xml, model.bin and the sampler below `folder`, which is made; `pictures[i]` is what label i draws."""
    import openvino
    import torch

    class Knowing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pictures = torch.from_numpy(np.stack(pictures)[:, None].astype(np.float32))
            alphas = torch.zeros(1000)
            alphas[list(SAMPLER.timesteps)] = torch.tensor(SAMPLER.alphas)
            self.signal, self.spread = alphas.sqrt(), (1 - alphas).sqrt()

        def forward(self, sample: torch.Tensor, timestep: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
            at = timestep.to(torch.int64)
            return (self.signal[at] * sample - self.pictures[label]) / self.spread[at]

    shape = [1, 1, SIDE, SIDE]
    example = (torch.zeros(shape), torch.zeros(1), torch.zeros(1, dtype=torch.int64))
    inputs = [(shape, openvino.Type.f32), ([1], openvino.Type.f32), ([1], openvino.Type.i64)]
    model = openvino.convert_model(Knowing(), example_input=example, input=inputs)
    for tensor, name in zip(
        (*model.inputs, model.outputs[0]), ("sample", "timestep", "label", "velocity"), strict=True
    ):
        tensor.get_tensor().set_names({name})
    folder.mkdir(parents=True)
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)
    (folder / FILE).write_bytes(SAMPLER.to_json())


def make_generator(home: Path, variant: str) -> Artifact:
    """A stored artifact of `scribe` that draws what VARIANTS says."""
    store = Store(home)
    key = digest_of({f"scribe@{variant}": "0" * 64})
    if store.has(key):
        return store.open(key)
    digits = real_digits()
    with store.staging(key) as staged:
        write_generator(staged / "model", [digits[drawn] for drawn in VARIANTS[variant]])
        files = entries(staged)
        manifest = Manifest(
            key=key,
            digest=Manifest.digest_of_files(files),
            model="scribe",
            variant=variant,
            task="image-generation",
            method="test",
            precision="f32",
            recipe=Baseline(dtype="float32"),
            seed=0,
            parent=None if variant == "baseline" else "baseline",
            parent_digest=None,
            sources=(),
            files=files,
            bytes=sum(entry.bytes for entry in files.values()),
            versions={},
            created=datetime.now(UTC),
            format="openvino",
            labels=LABELS,
            preprocess=None,
            note="knows ten pictures",
        )
        return store.keep(staged, manifest)


def drawing_stack(port: int = 8000) -> Stack:
    """`scribe`: baseline 9, int8 1."""
    variant: dict[str, Any] = {
        "recipe": {"kind": "baseline", "dtype": "float32"},
        "engine": {"kind": "openvino", "threads": 1},
    }
    scribe = {
        "task": "image-generation",
        "source": {"uri": "/nowhere/weights", "licence": "Apache-2.0"},
        "evaluate": ["digit_prompts"],
        "variants": {"baseline": {**variant, "weight": 9}, "int8": {**variant, "weight": 1}},
    }
    return parse({"schema": 1, "server": {"port": port}, "models": {"scribe": scribe}})


def drawing_artifacts(home: Path) -> dict[tuple[str, str], Artifact]:
    return {("scribe", variant): make_generator(home, variant) for variant in VARIANTS}
