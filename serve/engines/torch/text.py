"""`python -m serve.engines.torch.text`: text generation by transformers on torch, bitsandbytes folders among
them.

For what vLLM does not run, or not on this machine. Its parts: `torch_generator` (the engine), `torch_batch`,
`torch_cache`, `torch_sampling`.
"""

import argparse

from starlette.types import ASGIApp

from serve.engines.artifact import open_artifact
from serve.engines.http import server, text
from serve.engines.http.adapters import adapter_routes


def build(options: argparse.Namespace) -> ASGIApp:
    server.hide_packages()
    import torch

    from serve.engines.torch.generator import TorchGenerator

    torch.set_num_threads(options.threads)
    artifact = open_artifact(options.artifact)
    engine = TorchGenerator(artifact.model, options.context, options.batch, takes_adapters=options.adapters > 0)
    names = {options.name}
    app = text.build(engine, names, artifact.digest)
    app.routes.extend(adapter_routes(names, options.adapters + 1, engine.load_adapter, engine.unload_adapter))
    return app


def parser() -> argparse.ArgumentParser:
    found = server.arguments("text generation by transformers on torch")
    found.add_argument("--context", type=int, default=2048, help="most tokens of a prompt and its answer")
    found.add_argument("--batch", type=int, default=16, help="most requests decoded together")
    found.add_argument("--adapters", type=int, default=0, help="most adapters that may be loaded")
    return found


if __name__ == "__main__":
    server.main(build, parser())
