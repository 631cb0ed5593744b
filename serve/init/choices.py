"""Which variants make sense for a model, its data, this machine and a goal. Each comes with its reason, and so does
each that is left out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from serve.init.model import ModelFacts
from serve.init.task import TaskDraft
from variants.artifacts.manifest import TaskKind
from variants.errors import InputError
from variants.machine import Machine
from variants.tasks.data.yolo import classes_in

Goal = Literal["speed", "memory", "quality"]
GROUPS = (128, 64, 32)
"""Weights in a group of int4, the usual sizes first: smaller groups lose less and take more bytes."""
EXAMPLES = 128
"""Calibration examples. More of them change ranges hardly."""
BATCH, EPOCHS = 16, 1
WORK = 6e12
"""Parameters times tokens of all texts that a head is trained on: 2,000 texts of 128 tokens for a model of 23 million,
which takes a few minutes on two cores."""
LEAST_TEXTS = 200


@dataclass(frozen=True)
class VariantChoice:
    """One variant: its recipe as a stack file has it, and why it is there. `bits` is the size of a weight."""

    name: str
    recipe: Mapping[str, Any]
    why: str
    bits: int


@dataclass(frozen=True)
class Choices:
    """`variants` begins with the baseline. `left_out` has a reason for each method that does not fit here."""

    variants: list[VariantChoice] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, recipe: Mapping[str, Any], why: str, bits: int) -> None:
        self.variants.append(VariantChoice(name, recipe, why, bits))


def choose(model: ModelFacts, task: TaskDraft | None, machine: Machine, goal: Goal) -> Choices:
    """The variants for a goal. Raises InputError where not even a baseline can be served."""
    choices = Choices()
    CHOOSERS[model.task](choices, model, task, machine, goal)
    return choices


def text_generation(choices: Choices, model: ModelFacts, task: TaskDraft | None, machine: Machine, goal: Goal) -> None:
    """w8a8, w4a16 and NF4, as far as the layers and the processor let them gain."""
    choices.add("baseline", {"kind": "baseline", "dtype": "bfloat16"}, "the weights as they came, in 16 bits", 16)
    if model.fixed:
        fp16 = {"kind": "quantize", "scheme": "fp16"}
        choices.add("fp16", fp16, f"{model.fixed}, so methods that change linear layers are refused", 16)
        choices.left_out.update(dict.fromkeys(("int8", "int4", "nf4"), model.fixed))
        return
    calibration = (
        calibrated(task) if task and task.scorer in ("choice", "passage") and "choices" not in task.definition else None
    )
    group = next((size for size in GROUPS if all(width % size == 0 for width in model.widths)), None)
    int8: dict[str, Any] = {"kind": "quantize", "scheme": "w8a8"}
    if goal == "quality" and calibration:
        int8 |= {"smoothing": 0.8, "calibration": calibration}
    if machine.multiplies_integers:
        choices.add("int8", int8, "8-bit products: this processor multiplies them in one instruction", 8)
    elif goal == "speed":
        choices.left_out["int8"] = "this processor has no VNNI or AMX, so 8-bit products gain little"
    else:
        choices.add("int8", int8, "half of the bytes; not faster here, as this processor has no VNNI or AMX", 8)
    int4: dict[str, Any] = {"kind": "quantize", "scheme": "w4a16", "group_size": group}
    if goal == "quality" and calibration:
        int4 |= {"algorithm": "gptq", "calibration": calibration}
    if group is None:
        choices.left_out["int4"] = f"no group of {', '.join(map(str, GROUPS))} divides all widths of its layers"
    elif goal != "quality" or calibration:
        choices.add("int4", int4, f"a quarter of the bytes; groups of {group} divide all widths of its layers", 4)
    else:
        choices.left_out["int4"] = "loses most, and without labels or passages to calibrate on it loses more"
    if goal == "memory":
        choices.add("nf4", {"kind": "quantize", "scheme": "nf4"}, "4-bit normal floats: fewest bytes, not faster", 4)
    else:
        choices.left_out["nf4"] = "saves memory, but not time: --goal memory has it"


def trains(model: ModelFacts, task: TaskDraft) -> bool:
    """Whether the baseline needs a new head: the model does not know the data's labels."""
    if model.task not in ("text-classification", "image-classification"):
        return False
    return model.is_encoder or not set(task.labels) <= set(model.labels)


def text_classification(
    choices: Choices, model: ModelFacts, task: TaskDraft | None, machine: Machine, goal: Goal
) -> None:
    """The model's own head where it knows the data's labels, else a new one."""
    if not model.is_encoder and (task is None or not trains(model, task)):
        add_baseline(choices, "the model with its own labels")
    elif task is None:
        raise InputError("an encoder has no labels yet", field="--data", mend="give labelled texts to train a head on")
    else:
        examples = texts_for(model, task)
        recipe = {
            "kind": "train-text", "task": task.name, "examples": examples, "epochs": EPOCHS, "batch": BATCH,
            "tokens": task.tokens,
        }  # fmt: skip
        why = f"a new head for the {len(task.labels)} labels of the data"
        if examples < task.counts["train"]:
            why += f"; of {task.counts['train']:,} texts {examples:,}, so that it takes minutes"
            why += ": training on more texts may be more accurate"
        choices.add("baseline", recipe, why, 32)
    openvino(choices, task, machine, goal, dynamic=True)


def texts_for(model: ModelFacts, task: TaskDraft) -> int:
    """How many texts to train a head on: as many as there are, but for a large model few enough for minutes."""
    most = int(WORK / (max(1, model.parameters) * task.tokens))
    return min(task.counts["train"], max(LEAST_TEXTS, most))


def feature_extraction(
    choices: Choices, model: ModelFacts, task: TaskDraft | None, machine: Machine, goal: Goal
) -> None:
    add_baseline(choices, "the encoder as it came")
    add_int8(choices, task, machine, goal)


def image_classification(
    choices: Choices, model: ModelFacts, task: TaskDraft | None, machine: Machine, goal: Goal
) -> None:
    if task is None or not trains(model, task):
        add_baseline(choices, "the model with its own labels")
    else:
        if model.side is None:
            raise InputError("the model's images have no one size", field="SOURCE", mend="one with image_size")
        recipe = {
            "kind": "train", "task": task.name, "architecture": "huggingface", "examples": task.counts["train"],
            "epochs": EPOCHS, "batch": BATCH, "image_size": model.side,
        }  # fmt: skip
        choices.add("baseline", recipe, f"a new head for the {len(task.labels)} labels of the data", 32)
    openvino(choices, task, machine, goal, dynamic=True)


def object_detection(choices: Choices, model: ModelFacts, task: TaskDraft | None, machine: Machine, goal: Goal) -> None:
    recipe: dict[str, Any] = {"kind": "baseline-detector"}
    if model.detector:
        said = task and task.definition["data"].get("classes")
        names = said if isinstance(said, list) else classes_in(Path(said)) if said else numbers(model.classes)
        if len(names) != model.classes:
            raise InputError(
                f"the detector has {model.classes} classes, and {len(names)} are named",
                field="--names",
                mend="name them in the model's order, one a line",
            )
        recipe |= {"detector": model.detector.model_dump(mode="json"), "labels": names}
    elif model.side is None:
        recipe |= {"image_size": [640, 640]}
    choices.add("baseline", recipe, "the detector as it came", 32)
    openvino(choices, task, machine, goal, dynamic=False)


def image_generation(choices: Choices, model: ModelFacts, task: TaskDraft | None, machine: Machine, goal: Goal) -> None:
    """A pipeline in the type that this processor multiplies, and its denoiser in 8 bits."""
    if "avx512_bf16" in machine.flags or "amx_bf16" in machine.flags:
        recipe = {"kind": "baseline", "dtype": "bfloat16"}
        choices.add("baseline", recipe, "in 16 bits, as this processor multiplies 16-bit floats", 16)
    else:
        add_baseline(choices, "in 32 bits, as this processor has no instruction for 16-bit floats")
    recipe = {"kind": "quantize", "scheme": "int8-dynamic"}
    # As executed: what is no linear layer of the denoiser takes 32 bits.
    why = (
        "8-bit weights of the denoiser, on OpenVINO: a quarter of the bytes on disk; its card says whether it is faster"
    )
    choices.add("int8", recipe, why, 32)


def add_baseline(choices: Choices, why: str) -> None:
    choices.add("baseline", {"kind": "baseline", "dtype": "float32"}, why, 32)


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def openvino(choices: Choices, task: TaskDraft | None, machine: Machine, goal: Goal, dynamic: bool) -> None:
    """What OpenVINO runs in fewer bits."""
    add_int8(choices, task, machine, goal)
    if task is None and dynamic:
        recipe = {"kind": "quantize", "scheme": "int8-dynamic"}
        choices.add("int8-dynamic", recipe, "8-bit weights; ranges while serving, so no data is needed", 8)
    if "avx512_bf16" in machine.flags or "amx_bf16" in machine.flags:
        choices.add("bf16", {"kind": "quantize", "scheme": "bf16"}, "this processor multiplies 16-bit floats", 16)
    else:
        choices.left_out["bf16"] = "this processor has no instruction for 16-bit floats"


def add_int8(choices: Choices, task: TaskDraft | None, machine: Machine, goal: Goal) -> None:
    if task is None or not task.counts["calibration"]:
        missing = "give --data" if task is None else "no row is left for calibration: give more rows a label"
        choices.left_out["int8"] = f"it measures ranges on examples: {missing}"
        return
    recipe = {"kind": "quantize", "scheme": "int8", "calibration": calibrated(task)}
    faster = machine.multiplies_integers
    why = "this processor multiplies 8-bit integers in one instruction" if faster else "a quarter of the bytes"
    if not faster and goal == "speed":
        why += "; perhaps no faster, as this processor has no VNNI or AMX"
    choices.add("int8", recipe, why, 8)


def calibrated(task: TaskDraft) -> dict[str, Any]:
    return {"task": task.name, "examples": min(EXAMPLES, task.counts["calibration"])}


Chooser = Callable[[Choices, ModelFacts, TaskDraft | None, Machine, Goal], None]
CHOOSERS: Mapping[TaskKind, Chooser] = {
    "text-generation": text_generation,
    "text-classification": text_classification,
    "feature-extraction": feature_extraction,
    "image-classification": image_classification,
    "object-detection": object_detection,
    "image-generation": image_generation,
}
