"""Image classification by OpenVINO on a CPU, in the precision that the manifest names (`openvino_model`).

What the compiled model then really executes stands in the model's metadata. The model's one output is taken
for logits.
"""

import argparse
import threading
from pathlib import Path

from starlette.types import ASGIApp

from serve.engines.artifact import open_built
from serve.engines.base import Floats
from serve.engines.http import images, server
from serve.engines.http.images import softmax
from serve.engines.openvino.model import Compiled
from variants.artifacts.manifest import Manifest
from variants.errors import EngineError


class OpenVinoModel(Compiled):
    """A compiled classifier."""

    def __init__(self, path: Path, manifest: Manifest, threads: int) -> None:
        """Raises EngineError where the manifest asks for what this engine does not do, or the file is no model."""
        if manifest.preprocess is None or manifest.labels is None:
            raise EngineError("no preprocess or no labels", field="manifest", mend="build it again")
        self.preprocess, self.labels = manifest.preprocess, manifest.labels
        super().__init__(path, manifest.precision, threads)

    def predict(self, pixels: Floats, gone: threading.Event | None = None) -> Floats:
        return softmax(self.run(pixels, gone=gone))


def build(options: argparse.Namespace) -> ASGIApp:
    artifact, manifest = open_built(options.artifact)
    return images.build(OpenVinoModel(artifact.model / "model.xml", manifest, options.threads), options.name)


if __name__ == "__main__":
    server.main(build, server.arguments("image classification by OpenVINO on a CPU"))
