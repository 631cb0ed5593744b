"""`python -m serve.engines.torch_image`: image classification by transformers on torch (`torch_classifier`)."""

import argparse

from starlette.types import ASGIApp

from serve.engines import image_api, server
from serve.engines.artifact import open_artifact


def build(options: argparse.Namespace) -> ASGIApp:
    server.hide_packages()
    import torch

    from serve.engines.torch_classifier import TorchClassifier

    torch.set_num_threads(options.threads)
    return image_api.build(TorchClassifier(open_artifact(options.artifact)), options.name)


if __name__ == "__main__":
    server.main(build, server.arguments("image classification by transformers on torch"))
