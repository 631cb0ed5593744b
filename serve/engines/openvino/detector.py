"""Object detection by OpenVINO on a CPU, in the precision that the manifest names (`openvino_model`).

The compiled model gives raw predictions; `boxes_of` makes boxes of them, alike for every variant.
"""

import argparse
import threading
from pathlib import Path

from starlette.types import ASGIApp

from serve.engines.artifact import open_built
from serve.engines.http import detections, server
from serve.engines.openvino.model import Compiled
from variants.artifacts.manifest import Manifest
from variants.errors import EngineError
from variants.vision.box_decoder import boxes_of
from variants.vision.boxes import Box
from variants.vision.letterbox import pixels_of


class OpenVinoDetector(Compiled):
    """A compiled detector."""

    def __init__(self, path: Path, manifest: Manifest, threads: int) -> None:
        """Raises EngineError where the manifest asks for what this engine does not do, or the file is no model."""
        if manifest.detector is None or manifest.labels is None:
            raise EngineError("no detector or no labels", field="manifest", mend="build it again")
        self.detector, self.labels = manifest.detector, manifest.labels
        super().__init__(path, manifest.precision, threads)

    def find(self, image: bytes, field: str = "image", gone: threading.Event | None = None) -> list[Box]:
        pixels, scale, size = pixels_of(image, self.detector, field)
        return boxes_of(self.run(pixels[None], gone=gone), self.detector, self.labels, scale, size)


def build(options: argparse.Namespace) -> ASGIApp:
    artifact, manifest = open_built(options.artifact)
    model = OpenVinoDetector(artifact.model / "model.xml", manifest, options.threads)
    return detections.build(model, options.name)


if __name__ == "__main__":
    server.main(build, server.arguments("object detection by OpenVINO on a CPU"))
