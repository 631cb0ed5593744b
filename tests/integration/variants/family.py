"""A small family of plans with real files, made slowly enough to be hit anywhere; run by other processes too."""

import sys
import time
from pathlib import Path

from tests.support.recipes import parse_recipe
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Store
from variants.build.builder import MethodFor, VariantPlan, build
from variants.methods.registry import BuildJob, Method, MethodResult
from variants.recipes.recipe import Recipe
from variants.recipes.source import Source

FILES, PIECES, PIECE = 3, 2, 4096


class Writer(Method):
    """Writes a few files in pieces, `pause` seconds between them; what they hold hangs on the input alone."""

    pause: float

    def run(self, job: BuildJob) -> MethodResult:
        text = job.parent.model_path / "part-0" if job.parent else job.source
        assert text is not None
        seed = text.read_bytes()[:64] + job.recipe.kind.encode()
        for number in range(FILES):
            with (job.out / f"part-{number}").open("wb") as file:
                for _ in range(PIECES):
                    file.write((seed * PIECE)[:PIECE])
                    file.flush()
                    time.sleep(self.pause)
        return MethodResult("bf16", "huggingface", "pieces", ())


def methods(pause: float) -> MethodFor:
    def method_for(task: str, recipe: Recipe, field: str) -> Method:
        method = Writer(recipe.kind, 1, "")
        object.__setattr__(method, "pause", pause)
        return method

    return method_for


def plans(source: Path) -> list[VariantPlan]:
    """A baseline, its nf4, and an adapter on that."""
    recipes = {
        "baseline": ({"kind": "baseline", "dtype": "bfloat16"}, None),
        "nf4": ({"kind": "quantize", "scheme": "nf4"}, "baseline"),
        "lora": ({"kind": "lora", "task": "r8", "rank": 8, "alpha": 16, "steps": 1}, "nf4"),
    }
    given = Source(uri=str(source), licence="MIT")
    return [
        VariantPlan("m", name, "text-generation", given, parse_recipe(recipe), parent)
        for name, (recipe, parent) in recipes.items()
    ]


def make(home: Path, source: Path, pause: float = 0.0) -> None:
    build(plans(source), Store(home), Catalog(home), method_for=methods(pause))


if __name__ == "__main__":
    print("begun", flush=True)
    make(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
