"""Studies to look at without making one: cards with figures of our own, and a stack over scripted engines."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serve.config.lineage import VariantRef
from serve.config.loader import parse
from serve.config.stack import Stack
from serve.study.schema import Study, StudyCard
from tests.support.recipes import parse_recipe
from tests.support.scripted import SOURCE, make_artifact
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact
from variants.errors import EngineError
from variants.machine import describe

ZEROS = {
    "kind": "prune",
    "structure": "channels",
    "sparsity": 0.5,
    "recovery": {"task": "mnist", "examples": 9, "epochs": 1},
}
INT8 = {"kind": "quantize", "scheme": "int8", "calibration": {"task": "mnist", "examples": 32}}
BF16 = {"kind": "quantize", "scheme": "bf16"}


def card(variant: str, **other: Any) -> StudyCard:
    """A card of `digits`, whose baseline has 97.4 % in 8 ms and 13.6 MB."""
    facts: dict[str, Any] = {
        "family": "image-classification", "model": "digits", "variant": variant, "kind": "quantized",
        "structured": None, "precision": "int8", "artifact_bytes": 3_650_000, "served_bytes": 3_650_000,
        "accuracy": {"metric": "accuracy", "value": 0.97, "low": 0.957, "high": 0.979, "n": 1000},
        "paired_difference": {"value": -0.004, "low": -0.011, "high": 0.003},
        "agreement": {"value": 0.988, "low": 0.979, "high": 0.993},
        "latency_s": {"p50": 0.0038, "p95": 0.0051}, "saturated_latency_s": {"p50": 0.021, "p95": 0.034},
        "speedup": speedup(2.11, 2.41),
        "throughput_per_s": 410.0, "peak_memory_bytes": 151_000_000, "resident_bytes": 140_000_000,
        "inference_per_s": 900.0, "cost_cpu_s": 2.2, "load_s": 0.91, "digest": f"{len(variant):02x}" * 32,
        "parent": "baseline", "parent_digest": "08" * 32, "task": "mnist", "unit": "share", "better": "higher",
        "engine": "openvino", "method": "nncf-static-int8/1", "recipe": INT8, "licences": ["Apache-2.0"],
        "sources": ["wheel:made==1/up.pth"], "note": "made in a test", "versions": {}, "measured": datetime.now(UTC),
        "limit": 1000, "seed": 0,
    }  # fmt: skip
    return StudyCard.model_validate(facts | other)


def speedup(single: float, saturated: float, reach: float = 0.05) -> dict[str, Any]:
    """Ratios with intervals of `reach` to either side."""
    ratios = {
        name: {"value": value, "low": value - reach, "high": value + reach}
        for name, value in (("single", single), ("saturated", saturated))
    }
    return {**ratios, "rounds": 6}


def baseline(**other: Any) -> StudyCard:
    facts: dict[str, Any] = {
        "kind": "baseline", "precision": "f32", "artifact_bytes": 13_600_000, "served_bytes": 13_600_000,
        "accuracy": {"metric": "accuracy", "value": 0.974, "low": 0.962, "high": 0.982, "n": 1000},
        "paired_difference": None, "agreement": None, "speedup": None,
        "parent": None, "parent_digest": None, "cost_cpu_s": 6.0,
        "latency_s": {"p50": 0.008, "p95": 0.0095}, "throughput_per_s": 170.0,
    }  # fmt: skip
    return card("baseline", **facts | other)


def perplexity(value: float, difference: tuple[float, float, float] | None) -> dict[str, Any]:
    """The fields of a card by a metric that is no share, and of which less is better."""
    between = dict(zip(("value", "low", "high"), difference, strict=True)) if difference else None
    return {
        "accuracy": {"metric": "perplexity", "value": value, "low": value - 1, "high": value + 1, "n": 64},
        "paired_difference": between, "agreement": None, "task": "wikitext2", "unit": "", "better": "lower",
    }  # fmt: skip


def made_study(*cards: StudyCard, **other: Any) -> Study:
    return Study(
        machine=describe(), versions={"torch": "2"}, cards=cards, created=datetime.now(UTC), seconds=1234.5, **other
    )


def scripted_stack(**variants: Any) -> Stack:
    """`bands` with a baseline and the given variants, each a recipe, on scripted engines that answer almost at once."""
    engine = {"kind": "scripted", "first_token_s": 0.0005}
    made = {"baseline": {"recipe": {"kind": "baseline", "dtype": "float32"}, "engine": engine, "weight": 1}} | {
        name: {"recipe": recipe, "parent": "baseline", "engine": engine} for name, recipe in variants.items()
    }
    model = {"task": "image-classification", "source": SOURCE, "evaluate": ["mnist"], "variants": made}
    return parse({"schema": 1, "models": {"bands": model}})


class ScriptedMake:
    """Artifacts without weights; the variants in `broken` cannot be made."""

    def __init__(self, home: Path, *broken: str) -> None:
        self.home, self.broken = home, broken
        self.made: list[VariantRef] = []

    def __call__(self, stack: Stack, line: Sequence[VariantRef]) -> Mapping[VariantRef, Artifact]:
        artifacts = {}
        for model, variant in line:
            if variant in self.broken:
                raise EngineError("the build was killed", mend="most likely for memory: see dmesg")
            recipe = parse_recipe(stack.models[model].variants[variant].recipe.model_dump())
            task = stack.models[model].task
            key = recipe.canonical_sha256()
            artifacts[model, variant] = make_artifact(self.home, model, variant, task, key, recipe=recipe)
            Catalog(self.home).record(artifacts[model, variant].manifest)
        self.made.append(line[-1])
        return artifacts
