"""`python -m tests.support.serve_life PORT ENGINES [SERVER]`: the real server over `echo` with an engine of its own for
each variant. ENGINES is JSON: the scripted engine's settings by variant, with `weight` among them, and `damaged: true`
for a variant whose artifact is damaged first. SERVER is JSON: settings of the stack's `server`."""

import json
import sys
from pathlib import Path
from typing import Any

from serve.cli.serve import serve_until_stopped
from serve.config.loader import parse
from serve.config.stack import Stack
from tests.support.scripted import RECIPE, SOURCE, make_artifacts
from variants.artifacts.store import Artifact, open_artifact
from variants.errors import IntegrityError
from variants.home import home

Ref = tuple[str, str]


def stack_of(port: int, variants: dict[str, dict[str, Any]], server: dict[str, Any]) -> Stack:
    served = {
        name: {
            "recipe": RECIPE,
            "parent": None if name == "baseline" or "baseline" not in variants else "baseline",
            "weight": settings.pop("weight", 1),
            "engine": {"kind": "scripted", **settings},
        }
        for name, settings in variants.items()
    }
    echo = {"task": "text-generation", "source": SOURCE, "variants": served}
    return parse({"schema": 1, "server": {"port": port, **server}, "models": {"echo": echo}})


def damage(artifact: Artifact) -> IntegrityError:
    """Change a file of the artifact, and give the error that this makes."""
    (artifact.path / "model" / "weights").write_text("damaged")
    try:
        open_artifact(artifact.path)
    except IntegrityError as error:
        return error
    raise AssertionError(artifact.path)


def main() -> None:
    variants = json.loads(sys.argv[2])
    hurt = [name for name, settings in variants.items() if settings.pop("damaged", False)]
    stack = stack_of(int(sys.argv[1]), variants, json.loads(sys.argv[3]) if len(sys.argv) > 3 else {})
    artifacts = make_artifacts(Path(home()), stack)
    damaged: dict[Ref, IntegrityError] = {("echo", name): damage(artifacts["echo", name]) for name in hurt}
    serve_until_stopped(stack, artifacts, as_json=True, damaged=damaged)


if __name__ == "__main__":
    main()
