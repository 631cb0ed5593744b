"""The memory and the disk space that a text build needs, known before its method starts.

Both come from the parent's size, read from the headers of its safetensors files: nothing is loaded. docs/performance.md
says which factors are measured (`make build-cost`) and which are derived. Other recipes, GGUF files and the OpenVINO
families have no estimate.
"""

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

from variants.artifacts.manifest import TaskKind
from variants.artifacts.tensors import TensorEntry, tensor_entries
from variants.disk import free_bytes
from variants.errors import RecipeError, StoreFull
from variants.machine import available_memory_bytes, multiplies_bfloat16
from variants.recipes.recipe import Baseline, Quantize, Recipe

MIB, GIB = 2**20, 2**30
SMALL_BYTES = 64 * MIB
"""A model with fewer bytes in bfloat16 is built without a check: what libraries load is larger."""
LIBRARIES_BYTES = 3 * GIB // 4
"""What the imported libraries hold beside the build."""
_PEAKS = {
    "baseline": 1.3, "fp16": 2.2, "nf4": 1.5, "llm-int8": 1.5, "w8a8": 1.5, "w4a16": 1.5, "w8a8-fp8": 1.5,
    "w8a8 that learns": 2.0, "w4a16 that learns": 2.0,
}  # fmt: skip
"""Peak memory above the libraries, for each byte of the model in bfloat16."""
_WEIGHT_BITS = {
    "baseline": 16.0, "fp16": 16.0, "nf4": 4.6, "llm-int8": 8.1, "w8a8": 8.1, "w4a16": 4.6, "w8a8-fp8": 8.1,
}  # fmt: skip
"""Bits of a weight on disk, scales included. Embeddings have 16, and a head up to 16."""
_TABLES = ("embed", "wte", "wpe", "lm_head")


class Need(NamedTuple):
    """In bytes. `memory` includes the libraries."""

    memory: int
    disk: int


def check(task: TaskKind, recipe: Recipe, origin: Path, store: Path, finished: int = 0) -> str:
    """A sentence about what a build from `origin`, its parent's or source's folder, needs and what is free; empty
    without an estimate. `finished` bytes of it are on disk already. RecipeError where memory is too little, StoreFull
    where the disk of `store` is."""
    way = _way(recipe) if task == "text-generation" and origin.is_dir() else None
    try:
        entries = list(_entries(origin)) if way else []
    except (OSError, ValueError):  # the method says what is wrong with the file
        return ""
    if way is None or 2 * sum(map(_size, entries)) < SMALL_BYTES:
        return ""
    wide = 2 if isinstance(recipe, Baseline) and recipe.dtype == "float32" else 1
    need, memory, disk = need_of(entries, way, wide, _beside(recipe)), available_memory_bytes(), free_bytes(store)
    need = need._replace(disk=max(0, need.disk - finished))
    told = (
        f"needs about {_gib(need.memory)} of memory ({_gib(memory)} available) and {_gib(need.disk)} of disk "
        f"({_gib(disk)} free)"
    )
    if need.memory > memory:
        raise RecipeError(told, field="recipe", mend=_mend(entries, recipe, need, memory))
    if need.disk > disk:
        short = f"free {_mib(need.disk - disk)} below {store}, for instance with understudy gc --keep 1"
        raise StoreFull(told, field="recipe", mend=short)
    return told


def need_of(entries: list[tuple[str, TensorEntry]], way: str, wide: int = 1, beside: float = 0.0) -> Need:
    """What a build in one of the ways of `_PEAKS` needs. `wide` is 2 where what it makes is in float32. `beside` is
    added to the way's peak."""
    total = sum(map(_size, entries))
    tables = sum(_size(entry) for entry in entries if any(part in entry[0] for part in _TABLES))
    bits = _WEIGHT_BITS[way.partition(" ")[0]]
    # A head that shares its weights with the embedding gets a copy in 8 bits.
    copied = bits < 16 and not any("lm_head" in name for name, _ in entries)
    disk = wide * (bits / 8 * (total - tables) + 2 * tables) + (tables if copied else 0)
    return Need(round((wide * _PEAKS[way] + beside) * 2 * total) + LIBRARIES_BYTES, round(disk))


def _beside(recipe: Recipe) -> float:
    """What a recipe adds to a peak of `_PEAKS`: `keep` holds the parent beside the variant, and calibration computes in
    float32 where the processor has no products of bfloat16."""
    if not isinstance(recipe, Quantize) or recipe.calibration is None:
        return 0.0
    return (1.0 if recipe.keeps else 0.0) + (0.0 if multiplies_bfloat16() else 2.0)


def _mend(entries: list[tuple[str, TensorEntry]], recipe: Recipe, need: Need, memory: int) -> str:
    """What would fit: more memory, or a quantization that needs less."""
    fits = []
    if isinstance(recipe, Quantize):
        ways = ["nf4", "w8a8", "w4a16"]
        fits = [way for way in ways if way != recipe.scheme and need_of(entries, way).memory <= memory]
        if recipe.learns and need_of(entries, recipe.scheme).memory <= memory:
            fits = ["algorithm rtn", *fits]
    return " or take ".join([f"free {_mib(need.memory - memory)}", *([", ".join(fits)] if fits else [])])


def _way(recipe: Recipe) -> str | None:
    """The row of `_PEAKS`; None for a recipe without one."""
    if isinstance(recipe, Baseline):
        return "baseline"
    if not isinstance(recipe, Quantize):
        return None
    way = f"{recipe.scheme} that learns" if recipe.learns else recipe.scheme
    return way if way in _PEAKS else None


def _entries(folder: Path) -> Iterator[tuple[str, TensorEntry]]:
    """The tensors that transformers reads. Some folders have them a second time, in files of another layout."""
    index, whole = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if whole.is_file():
        files = {whole}
    elif index.is_file():
        files = {folder / name for name in json.loads(index.read_bytes()).get("weight_map", {}).values()}
    else:
        files = set(folder.glob("*.safetensors"))
    for file in sorted(files):
        yield from tensor_entries(file).items()


def _size(entry: tuple[str, TensorEntry]) -> int:
    return prod(entry[1].shape)


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"


def _mib(size: int) -> str:
    return f"{-(-size // MIB):,} MiB"
