"""Classes of texts by OpenVINO on a CPU, in the precision that the manifest names (`openvino_model`).

The IR takes what a text encoder's takes and gives logits, so it is run as one (`openvino_text`)."""

import argparse

from starlette.types import ASGIApp

from serve.engines.artifact import open_built
from serve.engines.http import server, text_classes
from serve.engines.openvino.text_encoder import OpenVinoEmbedder


def build(options: argparse.Namespace) -> ASGIApp:
    artifact, manifest = open_built(options.artifact)
    model = OpenVinoEmbedder(artifact.model, manifest.precision, options.threads)
    return text_classes.build(model, manifest.labels, options.name)


if __name__ == "__main__":
    server.main(build, server.arguments("classes of texts by OpenVINO on a CPU"))
