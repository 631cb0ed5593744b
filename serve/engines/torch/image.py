"""`python -m serve.engines.torch.image`: image classification by transformers on torch (`torch_classifier`)."""

import argparse

from starlette.types import ASGIApp

from serve.engines.artifact import open_artifact
from serve.engines.http import images, server


def build(options: argparse.Namespace) -> ASGIApp:
    server.hide_packages()
    import torch

    from serve.engines.torch.image_classifier import TorchClassifier

    torch.set_num_threads(options.threads)
    return images.build(TorchClassifier(open_artifact(options.artifact)), options.name)


if __name__ == "__main__":
    server.main(build, server.arguments("image classification by transformers on torch"))
