"""Image generation by OpenVINO on a CPU: the denoiser in the precision that the manifest names (`openvino_model`), the
sampler around it in float32 (`variants.sampler`)."""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino
from starlette.types import ASGIApp

from serve.engines import generation_api, server
from serve.engines.artifact import open_artifact
from serve.engines.generation_api import Picture
from serve.engines.openvino_model import compiled
from variants.errors import EngineError, InputError
from variants.sampler import Sampler

Floats = npt.NDArray[np.float32]
INPUTS = {"sample", "timestep", "label"}


class OpenVinoGenerator:
    """A compiled denoiser and its sampler."""

    platform = "openvino"

    def __init__(self, folder: Path, precision: str, threads: int, labels: tuple[str, ...]) -> None:
        """Raises EngineError where the folder's model or sampler is none, or the precision one it does not do."""
        try:
            self.sampler = Sampler.of_folder(folder)
        except (OSError, InputError) as error:
            raise EngineError(f"no sampler: {error}", field=str(folder), mend="build it again") from None
        self.executes, self.request = compiled(str(folder / "model.xml"), precision, threads)
        if {port.any_name for port in self.request.get_compiled_model().inputs} != INPUTS:
            raise EngineError("not a denoiser", field=str(folder / "model.xml"), mend="build it again")
        self.labels, self.side, self.steps = labels, self.sampler.side, len(self.sampler.timesteps)
        self.computed_ns = 0

    def draw(self, label: int, seed: int, index: int = 0) -> Picture:
        return self.sampler.draw(self.velocity, label, seed, index)

    def velocity(self, sample: Floats, timestep: int, label: int) -> Floats:
        """One forward pass: float32, in the sample's shape."""
        # Names of their own: OpenVINO does not keep what it shares alive.
        shared = np.require(sample, requirements=("C", "W"))
        at, wanted = np.array([timestep], np.float32), np.array([label], np.int64)
        for name, values in (("sample", shared), ("timestep", at), ("label", wanted)):
            self.request.set_tensor(name, openvino.Tensor(values, shared_memory=True))
        self.request.infer()
        self.computed_ns += int(self.request.latency * 1e6)
        found: Floats = self.request.get_output_tensor().data.copy()
        return found


def build(options: argparse.Namespace) -> ASGIApp:
    artifact = open_artifact(options.artifact)
    manifest = artifact.manifest
    if manifest is None or manifest.labels is None:
        raise EngineError(f"no manifest with labels in {options.artifact}", field="--artifact", mend="an artifact")
    model = OpenVinoGenerator(artifact.model, manifest.precision, options.threads, manifest.labels)
    return generation_api.build(model, options.name, artifact.digest)


if __name__ == "__main__":
    server.main(build, server.arguments("image generation by OpenVINO on a CPU"))
