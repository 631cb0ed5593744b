"""`python -m serve.engines.torch.image`: image classification by transformers on torch (`torch_classifier`)."""

import argparse

from starlette.types import ASGIApp

from serve.engines.artifact import open_artifact
from serve.engines.http import images, server
from serve.engines.torch import device


def build(options: argparse.Namespace) -> ASGIApp:
    server.hide_packages()
    from serve.engines.torch.image_classifier import TorchClassifier

    classifier = TorchClassifier(open_artifact(options.artifact), device.chosen(options))
    return images.build(classifier, options.name)


if __name__ == "__main__":
    server.main(build, device.parser("image classification by transformers on torch"))
