"""`python -m serve.engines.torch.image_generation`: pipelines of diffusers on torch (`torch_generator`)."""

import argparse

from starlette.types import ASGIApp

from serve.engines.artifact import open_artifact
from serve.engines.http import image_generation, server


def build(options: argparse.Namespace) -> ASGIApp:
    server.hide_packages()
    import torch

    from serve.engines.torch.image_generator import TorchGenerator

    torch.set_num_threads(options.threads)
    artifact = open_artifact(options.artifact)
    return image_generation.build(TorchGenerator(artifact, options.threads), options.name, artifact.digest)


if __name__ == "__main__":
    server.main(build, server.arguments("pipelines of diffusers on torch"))
