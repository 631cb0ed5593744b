"""Object detection by OpenVINO on a CPU, in the precision that the manifest names (`openvino_model`).

The compiled model gives raw predictions; `boxes_of` makes boxes of them, alike for every variant.
"""

import argparse

import numpy as np
import openvino
from starlette.types import ASGIApp

from serve.engines import detection_api, server
from serve.engines.artifact import open_artifact
from serve.engines.boxes_of import Floats, boxes_of
from serve.engines.openvino_model import compiled
from variants.boxes import Box
from variants.errors import EngineError
from variants.letterbox import pixels_of
from variants.manifest import Manifest


class OpenVinoDetector:
    """A compiled detector."""

    platform = "openvino"

    def __init__(self, path: str, manifest: Manifest, threads: int) -> None:
        """Raises EngineError where the manifest asks for what this engine does not do, or the file is no model."""
        if manifest.detector is None or manifest.labels is None:
            raise EngineError("no detector or no labels", field="manifest", mend="build it again")
        self.detector, self.labels = manifest.detector, manifest.labels
        self.executes, self.request = compiled(path, manifest.precision, threads)
        self.computed_ns = 0

    def find(self, image: bytes, field: str = "image") -> list[Box]:
        pixels, scale, size = pixels_of(image, self.detector, field)
        return boxes_of(self.predict(pixels[None]), self.detector, self.labels, scale, size)

    def predict(self, pixels: Floats) -> Floats:
        """What the model gives for one prepared image [1, 3, H, W]; valid until the next."""
        shared = np.require(pixels, requirements=("C", "W"))  # a name of its own: OpenVINO does not keep it alive
        self.request.set_input_tensor(openvino.Tensor(shared, shared_memory=True))
        self.request.infer()
        self.computed_ns += int(self.request.latency * 1e6)
        found: Floats = self.request.get_output_tensor().data
        return found


def build(options: argparse.Namespace) -> ASGIApp:
    artifact = open_artifact(options.artifact)
    if artifact.manifest is None:
        raise EngineError(f"no manifest in {options.artifact}", field="--artifact", mend="an artifact's folder")
    path = str(artifact.model / "model.xml")
    return detection_api.build(OpenVinoDetector(path, artifact.manifest, options.threads), options.name)


if __name__ == "__main__":
    server.main(build, server.arguments("object detection by OpenVINO on a CPU"))
