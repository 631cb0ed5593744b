"""LoRA adapters that somebody else has trained with peft. They are checked against the base by what they change.

vLLM ignores some fields of an adapter's configuration, and would answer wrongly without a word. An adapter that uses
one of these is refused by the field's name.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from variants.artifacts.adapter import CONFIG, WEIGHTS
from variants.artifacts.tensors import tensor_entries
from variants.errors import RecipeError, SourceError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.text_generation.baseline import parent_of
from variants.recipes.recipe import PublishedAdapter

PREFIX = "base_model.model."
UNSERVED = (
    "use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "trainable_token_indices", "lora_bias",
    "target_parameters", "fan_in_fan_out",
)  # fmt: skip
"""Fields that no engine here follows. Each is absent, None, False or empty in a plain adapter."""
_NARROWING = ("exclude_modules", "layers_to_transform", "layers_pattern")
"""Fields that take layers out of `target_modules`."""
_WHOLE = "the whole file that peft wrote"
Shape = tuple[int, ...]


def adapter(job: BuildJob[PublishedAdapter]) -> MethodResult:
    """The adapter in `job.source`, for the base in `job.parent`.

    Raises SourceError where a file is missing or is not what peft writes. Raises RecipeError for an adapter that no
    engine serves, or that does not fit the base.
    """
    assert job.source is not None
    assert job.parent is not None
    base = parent_of(job)
    config = config_of(job.source)
    with job.progress.step(f"checking {job.source.name} against its base"):
        layers = check_layers(shapes_of(job.source / WEIGHTS), dict(shapes_below(base)), config)
    shutil.copyfile(job.source / WEIGHTS, job.out / WEIGHTS)
    name = f"{job.parent.manifest.model}@{job.parent.manifest.variant}"
    written = config | {"base_model_name_or_path": name, "target_modules": layers, "inference_mode": True}
    (job.out / CONFIG).write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")
    trained = config.get("base_model_name_or_path") or "a base that it does not name"
    note = f"as published: rank {config['r']} on {', '.join(layers)}, trained on {Path(str(trained)).name}"
    return MethodResult("bf16", "adapter", note, ("safetensors",))


def config_of(folder: Path) -> dict[str, Any]:
    """The configuration, without fields that no engine follows."""
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            mend = "pickles are not loaded: save the adapter as safetensors" if name == WEIGHTS else "name its folder"
            raise SourceError(f"there is no {name}", field="source.uri", mend=mend)
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        kind, rank = config["peft_type"], config["r"]
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{CONFIG} is not what peft writes: {error!r}", field="source.uri") from None
    if kind != "LORA":
        raise RecipeError(f"no engine here serves an adapter of type {kind}", field="source.uri", mend="LORA")
    if not isinstance(rank, int) or rank < 1:
        raise SourceError(f"{CONFIG}: r is {rank!r}", field="source.uri")
    used = [name for name in UNSERVED if config.get(name)]
    if config.get("bias", "none") != "none":
        used.append("bias")
    if used:
        mend = "merge it into the base with peft, and serve the result as a model"
        raise RecipeError(f"no engine here follows {', '.join(used)} of {CONFIG}", field="source.uri", mend=mend)
    return {name: value for name, value in config.items() if name not in UNSERVED}


def check_layers(ours: dict[str, Shape], base: dict[str, Shape], config: dict[str, Any]) -> list[str]:
    """The last names of the layers that the adapter changes, sorted.

    `ours` are its tensors' shapes, A [rank, inputs] and B [outputs, rank]; `base` those of the base, [outputs, inputs].
    """
    layers, rank = set(), config["r"]
    for name, shape in ours.items():
        layer, _, which = name.removeprefix(PREFIX).partition(".lora_")
        if which not in ("A.weight", "B.weight") or len(shape) != 2:
            raise RecipeError(
                f"no engine here serves the adapter's tensor {name}", field="source.uri", mend="plain LoRA"
            )
        if f"{layer}.weight" not in base:
            raise RecipeError(
                f"the adapter changes {layer}, which its base lacks", field="parent", mend="name its base"
            )
        if len(base[f"{layer}.weight"]) != 2:
            message = f"the adapter changes {layer}, which is no linear layer of its base"
            raise RecipeError(message, field="parent", mend="name its base")
        outputs, inputs = base[f"{layer}.weight"]
        wanted = (rank, inputs) if which == "A.weight" else (outputs, rank)
        if shape != wanted:
            message = f"the adapter's {name} is {list(shape)}, and {list(wanted)} would fit rank {rank} and the base"
            raise RecipeError(message, field="parent", mend="name the base that it was trained on")
        layers.add(layer.rpartition(".")[2])
    if not layers:
        raise SourceError(f"{WEIGHTS} has no tensor", field="source.uri")
    check_pairs(ours, base, config)
    return sorted(layers)


def check_pairs(ours: dict[str, Shape], base: dict[str, Shape], config: dict[str, Any]) -> None:
    """SourceError where a layer has one of its two matrices, or where a layer of the base that `target_modules` lists
    has none. An engine would leave it as it is in the base."""
    halves = {name.removeprefix(PREFIX) for name in ours}
    for name in sorted(halves):
        other = name.replace(".lora_A.", ".lora_B.") if ".lora_A." in name else name.replace(".lora_B.", ".lora_A.")
        if other not in halves:
            raise SourceError(f"{WEIGHTS} has {name} without {other}", field="source.uri", mend=_WHOLE)
    targets = config.get("target_modules")
    if not isinstance(targets, list) or any(config.get(name) for name in _NARROWING):
        return
    for layer in sorted(name.removesuffix(".weight") for name, shape in base.items() if len(shape) == 2):
        is_target = any(f".{layer}".endswith(f".{target}") for target in targets)
        if is_target and f"{layer}.lora_A.weight" not in halves:
            raise SourceError(f"{WEIGHTS} has no weights for {layer}", field="source.uri", mend=_WHOLE)


def shapes_below(folder: Path) -> Iterator[tuple[str, Shape]]:
    for path in sorted(folder.glob("*.safetensors")):
        yield from shapes_of(path).items()


def shapes_of(path: Path) -> dict[str, Shape]:
    try:
        return {name: entry.shape for name, entry in tensor_entries(path).items()}
    except ValueError as error:
        raise SourceError(str(error), field="source.uri") from None
