"""The methods that the table measures, each with a recipe that is small enough for a tiny model.

They are those of `variants.methods.registry` that need no GPU. Those that choose by examples get eight of them, and
those that train get two or four steps: what they learn is no matter here.
"""

from variants.artifacts.manifest import TaskKind
from variants.build.builder import VariantPlan
from variants.methods.registry import find
from variants.recipes.recipe import (
    Baseline,
    Calibration,
    DetectorBaseline,
    LoRA,
    Lossy,
    Merge,
    Prune,
    Quantize,
    Recipe,
    Recovery,
    Sparsify,
    Train,
    TrainText,
)
from variants.recipes.source import Source

SIDE = 32
"""Pixels of a classified image's height and width."""
RANK = 8
_REVIEWS = Calibration(task="rotten_tomatoes", examples=8)
_ARTICLES = Calibration(task="r8_topics", examples=8)
_DIGITS = Calibration(task="mnist", examples=8)
_SCENES = Calibration(task="scenes", examples=8)
_BASELINE = Baseline(dtype="float32")
_IR: dict[str, Recipe] = {
    "baseline": _BASELINE,
    "bf16": Quantize(scheme="bf16"),
    "int8-dynamic": Quantize(scheme="int8-dynamic"),
}

METHODS: dict[TaskKind, dict[str, Recipe]] = {
    "text-generation": {
        "baseline": _BASELINE,
        "fp16": Quantize(scheme="fp16"),
        "w8a8": Quantize(scheme="w8a8"),
        "w4a16": Quantize(scheme="w4a16", group_size=64),
        "nf4": Quantize(scheme="nf4"),
        "llm-int8": Quantize(scheme="llm-int8"),
        "magnitude": Sparsify(algorithm="magnitude", sparsity=0.5),
        "layers": Prune(structure="layers", drop_layers=1, calibration=_REVIEWS),
        "width": Prune(structure="layers", width=0.5, calibration=_REVIEWS),
        "lora": LoRA(task="rotten_tomatoes", rank=RANK, alpha=16, steps=2, batch=2),
        "merge": Merge(),
        "smoothed w8a8": Quantize(scheme="w8a8", smoothing=0.5, calibration=_REVIEWS),
        "gptq w4a16": Quantize(scheme="w4a16", group_size=64, algorithm="gptq", calibration=_REVIEWS),
        "awq w4a16": Quantize(scheme="w4a16", group_size=64, algorithm="awq", calibration=_REVIEWS),
        "wanda": Sparsify(algorithm="wanda", sparsity=0.5, calibration=_REVIEWS),
        "sparsegpt": Sparsify(algorithm="sparsegpt", sparsity=0.5, calibration=_REVIEWS),
    },
    "text-classification": _IR
    | {
        "int8": Quantize(scheme="int8", calibration=_ARTICLES),
        "magnitude": Sparsify(algorithm="magnitude", sparsity=0.5),
        "train": TrainText(task="r8_topics", examples=32, epochs=1, tokens=64),
        "heads": Prune(
            structure="heads", sparsity=0.5, recovery=Recovery(task="r8_topics", examples=32, epochs=1, batch=16)
        ),
        "lora": LoRA(task="r8_topics", rank=RANK, alpha=16, steps=2, batch=8),
    },
    "feature-extraction": {
        "baseline": _BASELINE,
        "int8": Quantize(scheme="int8", calibration=Calibration(task="r8", examples=8)),
    },
    "image-classification": _IR
    | {
        "fp16": Quantize(scheme="fp16"),
        "int8": Quantize(scheme="int8", calibration=_DIGITS),
        "magnitude": Sparsify(algorithm="magnitude", sparsity=0.5),
        "train": Train(
            task="mnist", architecture="huggingface", examples=64, epochs=1, batch=16, image_size=SIDE
        ),
        "channels": Prune(
            structure="channels", sparsity=0.3, recovery=Recovery(task="mnist", examples=64, epochs=1, batch=16)
        ),
        "lora": LoRA(
            task="mnist", rank=RANK, alpha=16, steps=2, batch=16, architecture="huggingface", image_size=SIDE
        ),
    },
    "object-detection": {
        "baseline": DetectorBaseline(),
        "bf16": Quantize(scheme="bf16"),
        "int8": Quantize(scheme="int8", calibration=_SCENES),
        "magnitude": Sparsify(algorithm="magnitude", sparsity=0.5),
        "channels": Prune(
            structure="channels", sparsity=0.3, recovery=Recovery(task="scenes", examples=64, epochs=1, batch=16)
        ),
    },
}  # fmt: skip
"""By task and by the name of the table's column."""
_PARENTS = {"merge": "lora", "heads": "train"}
"""Of methods that do not start from the baseline: heads need a parent with the labels of their recovery's task."""


def plans(model: str, task: TaskKind, method: str, source: Source) -> list[VariantPlan]:
    """What is built for `method`: its ancestors first, itself last."""
    recipe = METHODS[task][method]
    if isinstance(recipe, Lossy):  # random models are unsure of all that they answer
        recipe = recipe.model_copy(update={"most_loss": None})
    starts = method == "baseline" or find(task, recipe).starts_from == "source"
    parent = None if starts else _PARENTS.get(method, "baseline")
    before = plans(model, task, parent, source) if parent else []
    return [*before, VariantPlan(model, named(method), task, source, recipe, named(parent) if parent else None)]


def named(method: str) -> str:
    """The variant of a method: names have no spaces."""
    return method.replace(" ", "-")
