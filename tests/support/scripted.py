"""Artifacts and stacks for the scripted engine: everything of the server but weights."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serve.config.loader import only, parse
from serve.config.stack import Stack
from variants.artifacts.manifest import Manifest
from variants.artifacts.store import Artifact, Store, entries
from variants.files import digest_of
from variants.recipes.recipe import Baseline, Recipe
from variants.vision.preprocess import Preprocess

SOURCE = {"uri": "/nowhere/weights", "licence": "Apache-2.0"}
RECIPE = {"kind": "baseline", "dtype": "float32"}


def make_artifact(
    home: Path, model: str, variant: str, task: str, build: int | str = "", base: Artifact | None = None,
    recipe: Recipe = Baseline(dtype="float32"),
) -> Artifact:  # fmt: skip
    """A stored artifact whose one file holds its own name and build, so each has a digest of its own. With a `base` it
    is an adapter for that. `recipe` is what its manifest says."""
    store = Store(home)
    key = digest_of({f"{model}@{variant} {build} {base.manifest.digest if base else ''}": "0" * 64})
    if store.has(key):
        return store.open(key)
    with store.staging(key) as staged:
        (staged / "model").mkdir()
        file = "adapter_config.json" if base else "weights"
        (staged / "model" / file).write_text(f"{model}@{variant} {build}")
        files = entries(staged)
        image = task == "image-classification"
        manifest = Manifest(
            key=key,
            digest=digest_of({name: entry.sha256 for name, entry in files.items()}),
            model=model,
            variant=variant,
            task=task,
            method="scripted",
            precision="f32",
            recipe=recipe,
            seed=0,
            parent=None if variant == "baseline" else "baseline",
            parent_digest=base.manifest.digest if base else None,
            sources=(),
            files=files,
            bytes=sum(entry.bytes for entry in files.values()),
            versions={},
            created=datetime.now(UTC),
            format="adapter" if base else "huggingface",
            labels=tuple("0123456789") if image else None,
            preprocess=Preprocess(size=(32, 32), mean=(0, 0, 0), std=(255, 255, 255)) if image else None,
            note="scripted",
        )
        return store.keep(staged, manifest)


def make_stack(port: int = 8000, **settings: Any) -> Stack:
    """`echo` generates text and `near` embeds it (each baseline 90, int8 10), `bands` classifies images;
    `settings` go to every engine."""
    engine = {"kind": "scripted", **settings}
    variant = {"recipe": RECIPE, "engine": engine}
    return parse(
        {
            "schema": 1,
            "server": {"port": port},
            "models": {
                "echo": {
                    "task": "text-generation",
                    "source": SOURCE,
                    "variants": {"baseline": {**variant, "weight": 90}, "int8": {**variant, "weight": 10}},
                },
                "bands": {
                    "task": "image-classification",
                    "source": SOURCE,
                    "variants": {"baseline": {**variant, "weight": 1}},
                },
                "near": {
                    "task": "feature-extraction",
                    "source": SOURCE,
                    "variants": {"baseline": {**variant, "weight": 90}, "int8": {**variant, "weight": 10}},
                },
            },
        }
    )


def rollout_stack(port: int = 8000, **settings: Any) -> Stack:
    """`make_stack`, where int8 of `echo` has a parent, so a rollout of it may begin."""
    engine = {"kind": "scripted", **settings}
    baseline, int8 = {"weight": 90, "engine": engine}, {"weight": 10, "engine": engine, "parent": "baseline"}
    return with_variants(make_stack(port, **settings), "echo", {"baseline": baseline, "int8": int8})


def echo_stack(port: int = 8000, **settings: Any) -> Stack:
    """`echo` alone: two engines to start instead of five."""
    return only(make_stack(port, **settings), "echo")


def make_artifacts(home: Path, stack: Stack) -> dict[tuple[str, str], Artifact]:
    return {
        (model_name, variant): make_artifact(home, model_name, variant, model.task)
        for model_name, model in stack.models.items()
        for variant in model.variants
    }


def with_variants(stack: Stack, model: str, variants: dict[str, dict[str, Any]]) -> Stack:
    """The stack with other variants of one model: each is scripted, of weight 0, unless it says something else."""
    document = stack.model_dump(mode="json", by_alias=True)
    common = {"recipe": RECIPE, "engine": {"kind": "scripted"}}
    document["models"][model]["variants"] = {name: {**common, **settings} for name, settings in variants.items()}
    return parse(document)


def make_adapter(home: Path, model: str, variant: str, base: Artifact) -> Artifact:
    """A stored adapter of `base`, without weights."""
    return make_artifact(home, model, variant, base.manifest.task, base=base)
