"""Classes of texts by OpenVINO on a CPU, in the precision that the manifest names (`openvino_model`).

The IR takes what a text encoder's takes and gives logits, so it is run as one (`openvino_text`)."""

import argparse

from starlette.types import ASGIApp

from serve.engines import server, text_classifier_api
from serve.engines.artifact import open_artifact
from serve.engines.openvino_text import OpenVinoEmbedder
from variants.errors import EngineError


def build(options: argparse.Namespace) -> ASGIApp:
    artifact = open_artifact(options.artifact)
    if artifact.manifest is None:
        raise EngineError(f"no manifest in {options.artifact}", field="--artifact", mend="an artifact's folder")
    model = OpenVinoEmbedder(artifact.model, artifact.manifest.precision, options.threads)
    return text_classifier_api.build(model, artifact.manifest.labels, options.name)


if __name__ == "__main__":
    server.main(build, server.arguments("classes of texts by OpenVINO on a CPU"))
