"""Image classification by OpenVINO on a CPU, in the precision that the manifest names (`openvino_model`).

What the compiled model then really executes stands in the model's metadata. The model's one output is taken
for logits.
"""

import argparse

import numpy as np
import openvino
from starlette.types import ASGIApp

from serve.engines import image_api, server
from serve.engines.artifact import open_artifact
from serve.engines.image_api import Floats, softmax
from serve.engines.openvino_model import compiled
from variants.errors import EngineError
from variants.manifest import Manifest


class OpenVinoModel:
    """A compiled model."""

    platform = "openvino"

    def __init__(self, path: str, manifest: Manifest, threads: int) -> None:
        """Raises EngineError where the manifest asks for what this engine does not do, or the file is no model."""
        if manifest.preprocess is None or manifest.labels is None:
            raise EngineError("no preprocess or no labels", field="manifest", mend="build it again")
        self.preprocess, self.labels = manifest.preprocess, manifest.labels
        self.executes, self.request = compiled(path, manifest.precision, threads)
        self.computed_ns = 0

    def predict(self, pixels: Floats) -> Floats:
        shared = np.require(pixels, requirements=("C", "W"))  # a name of its own: OpenVINO does not keep it alive
        self.request.set_input_tensor(openvino.Tensor(shared, shared_memory=True))
        self.request.infer()  # given its inputs as arguments, it takes 35 microseconds more
        self.computed_ns += int(self.request.latency * 1e6)
        return softmax(self.request.get_output_tensor().data)


def build(options: argparse.Namespace) -> ASGIApp:
    artifact = open_artifact(options.artifact)
    if artifact.manifest is None:
        raise EngineError(f"no manifest in {options.artifact}", field="--artifact", mend="an artifact's folder")
    path = str(artifact.model / "model.xml")
    return image_api.build(OpenVinoModel(path, artifact.manifest, options.threads), options.name)


if __name__ == "__main__":
    server.main(build, server.arguments("image classification by OpenVINO on a CPU"))
