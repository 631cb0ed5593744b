"""`python -m serve.engines.torch.image_generation`: pipelines of diffusers on torch (`torch_generator`)."""

import argparse

from starlette.types import ASGIApp

from serve.engines.artifact import open_artifact
from serve.engines.http import image_generation, server
from serve.engines.torch import device


def build(options: argparse.Namespace) -> ASGIApp:
    server.hide_packages()
    from serve.engines.torch.image_generator import TorchGenerator

    artifact = open_artifact(options.artifact)
    generator = TorchGenerator(artifact, options.threads, device.chosen(options))
    return image_generation.build(generator, options.name, artifact.digest)


if __name__ == "__main__":
    server.main(build, device.parser("pipelines of diffusers on torch"))
