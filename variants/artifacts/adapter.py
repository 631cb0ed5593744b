"""Checks an adapter before an engine loads it: its files, its base, its rank, and its layers.

An adapter loads on another base without an error, but its answers are useless. So the base's digest is compared, not
its name. Nothing here imports torch.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

from variants.artifacts.manifest import Manifest
from variants.artifacts.store import Artifact
from variants.artifacts.tensors import tensor_entries
from variants.errors import IntegrityError, RecipeError
from variants.recipes.recipe import LoRA, Merge, PublishedAdapter, Quantize, Recipe

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True)
class Adapter:
    """The rank of an adapter, and `targets`, the names of the layers that it changes, sorted."""

    rank: int
    targets: tuple[str, ...]


def check_adapter(
    artifact: Artifact, base: Manifest, max_rank: int = 64, modules: Sequence[str] | None = None
) -> Adapter:
    """The adapter of `artifact`, checked to be served on top of `base`.

    IntegrityError when a file is missing or peft would not write it so. RecipeError when the artifact is not an adapter
    or has another base. RecipeError, too, when its rank is above `max_rank`, or it changes a layer that is not in the
    engine's `modules`.
    """
    manifest = artifact.manifest
    field = f"models.{manifest.model}.variants.{manifest.variant}"
    if manifest.format != "adapter":
        raise RecipeError(f"is no adapter but {manifest.format}", field=field, mend="a variant of kind lora")
    if manifest.parent_digest != base.digest:
        raise RecipeError(
            f"was made for {manifest.model}@{manifest.parent} ({(manifest.parent_digest or 'none')[:8]}), "
            f"not for {base.model}@{base.variant} ({base.digest[:8]})",
            field=f"{field}.parent",
            mend="serve it on its own base, or build it again",
        )
    adapter = _read(artifact)
    if adapter.rank > max_rank:
        raise RecipeError(
            f"rank {adapter.rank} is above the engine's limit of {max_rank}",
            field=f"{field}.recipe.rank",
            mend="a smaller rank, or a larger limit",
        )
    others = [target for target in adapter.targets if modules is not None and target not in modules]
    if others:
        raise RecipeError(
            f"adapts {', '.join(others)}, where its engine takes adapters on {', '.join(modules or ())} alone",
            field=f"{field}.engine.adapters.modules",
            mend=f"modules: [{', '.join(adapter.targets)}]",
        )
    return adapter


def check_ancestry(recipes: Sequence[Recipe], field: str) -> None:
    """Check that an adapter can be trained on its planned parent, or merged into its planned base.

    `recipes` are those of the variant, its parent, its parent's parent, and so on. RecipeError, with a path below
    `field`, where training or merging is impossible.
    """
    bases = [f"{each.scheme} weights" if isinstance(each, Quantize) else None for each in recipes[1:]]
    if isinstance(recipes[0], LoRA | PublishedAdapter) and any(bases[:1]) and bases[0] != "nf4 weights":
        mend = "one in bfloat16 or float32, or nf4"
        raise RecipeError(f"no adapter is trained on {bases[0]}", field=f"{field}.parent", mend=mend)
    if isinstance(recipes[0], Merge) and any(bases[1:2]):
        mend = "merge an adapter of the baseline, and quantize the result"
        raise RecipeError(f"an adapter on {bases[1]} is not merged", field=f"{field}.parent", mend=mend)


def _read(artifact: Artifact) -> Adapter:
    """The adapter's configuration, compared with the shapes of its weights."""
    folder, again = artifact.model_path, f"delete {artifact.path} and build it again"
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise IntegrityError(f"{folder / name} is missing", mend=again)
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        kind, base, rank = config["peft_type"], str(config["base_model_name_or_path"]), int(config["r"])
        targets = tuple(sorted(config["target_modules"]))
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{folder / CONFIG} is not what peft writes: {error!r}", mend=again) from error
    if kind != "LORA":
        raise IntegrityError(f"{folder / CONFIG}: {kind} is not LORA", mend=again)
    if PurePosixPath(base).is_absolute() or PureWindowsPath(base).is_absolute():
        raise IntegrityError(f"{folder / CONFIG} names its base by a path of another machine: {base}", mend=again)
    ranks = _ranks(artifact)
    if ranks != {rank}:
        raise IntegrityError(f"{folder / WEIGHTS}: ranks {sorted(ranks)}, the configuration says {rank}", mend=again)
    return Adapter(rank, targets)


def _ranks(artifact: Artifact) -> set[int]:
    """The ranks of the low-rank matrices: A is [rank, inputs], B is [outputs, rank]."""
    path = artifact.model_path / WEIGHTS
    try:
        shapes = {name: entry.shape for name, entry in tensor_entries(path).items()}
        return {shape[0] if ".lora_A." in name else shape[1] for name, shape in shapes.items()}
    except (ValueError, IndexError) as error:
        raise IntegrityError(f"{path} is not a safetensors file: {error!r}", mend="build it again") from error
