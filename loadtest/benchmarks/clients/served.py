"""The stack that clients ask: a stack file with a gRPC port, what it serves, and a picture to send."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from loadtest.benchmarks.clients.client import Served
from serve.config.loader import load, parse
from variants.artifacts.store import Store

TOKENIZER = "tokenizer.json"
SIDE = 64
"""Pixels of the picture's height and width."""


def with_grpc(stack: Path, port: int, path: Path) -> Path:
    """Write the stack file again to `path`, with the Open Inference Protocol over gRPC at `port`. Raises StackError."""
    document = load(stack).as_document()
    document["server"]["grpc_port"] = port
    parse(document)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def variants_of(live: Mapping[str, Any], store: Store) -> list[Served]:
    """Every variant of the live stack, the answer of `GET /admin/v1/stack`, in the stack's order."""
    served = []
    for model, described in live["stack"]["models"].items():
        names = list(described["variants"])
        folders = {
            name: store.path(key) / "model" if (key := live["artifacts"].get(f"{model}@{name}")) else None
            for name in names
        }
        for name in names:
            # An adapter has no tokenizer of its own: it takes that of the model's other variants.
            owners = [folder for folder in (folders[name], *folders.values()) if folder]
            tokenizer = next((folder for folder in owners if (folder / TOKENIZER).is_file()), None)
            served.append(Served(f"{model}@{name}", described["task"], tokenizer))
    return served


def write_picture(path: Path) -> Path:
    """A PNG of a light square on a dark ground."""
    picture = Image.new("L", (SIDE, SIDE), 20)
    picture.paste(230, (SIDE // 4, SIDE // 4, 3 * SIDE // 4, 3 * SIDE // 4))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, "PNG")
    return path
