"""`python -m serve.engines.torch.image`: image classification by transformers on torch (`torch_classifier`)."""

import argparse

from starlette.types import ASGIApp

from serve.engines.artifact import open_artifact
from serve.engines.http import images, server
from variants.errors import EngineError


def build(options: argparse.Namespace) -> ASGIApp:
    server.hide_packages()
    import torch

    from serve.engines.torch.image_classifier import TorchClassifier

    torch.set_num_threads(options.threads)
    device = "cuda" if options.gpu_share else "cpu"
    if options.gpu_share:
        if not torch.cuda.is_available():
            raise EngineError(f"torch {torch.__version__} sees no GPU", mend="see `understudy doctor`")
        torch.cuda.set_per_process_memory_fraction(options.gpu_share)
    return images.build(TorchClassifier(open_artifact(options.artifact), device), options.name)


if __name__ == "__main__":
    parser = server.arguments("image classification by transformers on torch")
    parser.add_argument("--gpu-share", type=float, help="the part of the GPU's memory that it may hold (default: CPU)")
    server.main(build, parser)
