"""The device of torch's engines: the CPU, or a share of the GPU that the engine was given."""

import argparse

from serve.engines.http import server
from variants.errors import EngineError


def parser(about: str) -> argparse.ArgumentParser:
    """The options of an engine on torch."""
    options = server.arguments(about)
    options.add_argument("--gpu-share", type=float, help="the part of the GPU's memory that it may hold (default: CPU)")
    return options


def chosen(options: argparse.Namespace) -> str:
    """torch's name of the device. Raises EngineError where there is no GPU to have a share of."""
    import torch

    torch.set_num_threads(options.threads)
    if not options.gpu_share:
        return "cpu"
    if not torch.cuda.is_available():
        raise EngineError(f"torch {torch.__version__} sees no GPU", mend="see `understudy doctor`")
    torch.cuda.set_per_process_memory_fraction(options.gpu_share)
    return "cuda"
