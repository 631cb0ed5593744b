"""Image generation by OpenVINO on a CPU: the denoiser in the precision that the manifest names (`openvino_model`), the
sampler around it in float32 (`variants.vision.diffusion_sampler`)."""

import argparse
import functools
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from starlette.types import ASGIApp

from serve.engines.artifact import open_built
from serve.engines.base import Draw, Picture
from serve.engines.http import image_generation, server
from serve.engines.http.image_generation_request import check_size, label_in
from serve.engines.openvino.model import Compiled
from variants.errors import EngineError, InputError
from variants.vision.diffusion_sampler import Sampler

Floats = npt.NDArray[np.float32]
INPUTS = {"sample", "timestep", "label"}


class OpenVinoGenerator(Compiled):
    """A compiled denoiser and its sampler."""

    def __init__(self, folder: Path, precision: str, threads: int, labels: tuple[str, ...]) -> None:
        """Raises EngineError where the folder's model or sampler is none, or the precision one it does not do."""
        try:
            self.sampler = Sampler.of_folder(folder)
        except (OSError, InputError) as error:
            raise EngineError(f"no sampler: {error}", field=str(folder), mend="build it again") from None
        super().__init__(folder / "model.xml", precision, threads)
        if {port.any_name for port in self.inputs} != INPUTS:
            raise EngineError("not a denoiser", field=str(folder / "model.xml"), mend="build it again")
        self.labels, self.side, self.passes = labels, self.sampler.side, 0
        self.parameters: Mapping[str, Any] = {
            "size": f"{self.side}x{self.side}",
            "sampling_steps": len(self.sampler.timesteps),
            "labels": list(labels),
        }

    def drawing(self, prompt: str, size: str | None, steps: int | None) -> Draw:
        check_size(size, self.side)
        if steps is not None:
            raise InputError("the number of steps is fixed", field="num_inference_steps", mend="leave it out")
        return functools.partial(self.draw, label_in(prompt, self.labels))

    def draw(self, label: int, seed: int, index: int = 0, gone: threading.Event | None = None) -> Picture:
        return self.sampler.draw(functools.partial(self.velocity, gone=gone), label, seed, index)

    def velocity(self, sample: Floats, timestep: int, label: int, gone: threading.Event | None = None) -> Floats:
        """One forward pass: float32, in the sample's shape. Raises ClientLeft soon after `gone` is set."""
        at, wanted = np.array([timestep], np.float32), np.array([label], np.int64)
        velocity = self.run(gone=gone, sample=sample, timestep=at, label=wanted).copy()
        self.passes += 1
        return velocity


def build(options: argparse.Namespace) -> ASGIApp:
    artifact, manifest = open_built(options.artifact)
    if manifest.labels is None:
        raise EngineError("no labels", field="manifest.labels", mend="build it again")
    model = OpenVinoGenerator(artifact.model, manifest.precision, options.threads, manifest.labels)
    return image_generation.build(model, options.name, artifact.digest)


if __name__ == "__main__":
    server.main(build, server.arguments("image generation by OpenVINO on a CPU"))
