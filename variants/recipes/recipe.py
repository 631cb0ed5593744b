"""Recipes: how a variant is made from its parent. Typed, frozen, hashable, told apart by `kind`.

A recipe says what is wanted, never how it is computed: `variants.methods.registry` finds the function for it, and
refuses a recipe that no method carries out yet before any work begins. What is said here must stand on its own: a
combination of fields that means nothing is refused when the recipe is read.

Several steps are several variants, each with the one before as its parent, so that each is an artifact with a card of
its own: there is no recipe for a chain.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from variants.document import Document, absent
from variants.vision.detector import Detector, Side

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0, lt=1)]
ImageSize = Annotated[int, Field(ge=32, le=1024, multiple_of=16, description="pixels, height and width")]
LayerName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", description="a layer's last name, like down_proj")]
UNetWidth = Annotated[int, Field(ge=16, le=512, multiple_of=8, description="channels; 8 normalise together")]
TaskName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", description="a name in variants.tasks")]


class Calibration(Document):
    """Which held-in examples a method may look at: the first `examples` of the calibration split of `task`."""

    task: TaskName
    examples: Positive


class _Recipe(Document):
    def digest(self) -> str:
        """sha256 of the recipe's canonical JSON, defaults included: equal recipes have equal digests."""
        return self.canonical_sha256()


class Baseline(_Recipe):
    """The source's weights as they are, widened or narrowed to `dtype`, in the form that an engine loads."""

    kind: Literal["baseline"] = "baseline"
    dtype: Literal["bfloat16", "float32"]


class Train(_Recipe):
    """Fine-tune a classifier: the source's weights with a new head, on the first `examples` of `task`'s training
    split."""

    kind: Literal["train"] = "train"
    task: TaskName
    architecture: Literal["efficientnet-lite0", "huggingface"]
    examples: Positive
    epochs: Positive
    batch: Positive = 64
    learning_rate: Rate = 2e-3
    image_size: ImageSize


class TrainDetector(_Recipe):
    """Train a small detector from nothing, on the first `examples` of `task`'s training split. One scale, no anchors:
    a box is predicted wherever the middle of an object is. `width` is the number of channels of its widest layers."""

    kind: Literal["train-detector"] = "train-detector"
    task: TaskName
    examples: Positive
    epochs: Positive
    batch: Positive = 32
    learning_rate: Rate = 2e-3
    image_size: ImageSize
    width: Annotated[int, Field(ge=16, le=512, multiple_of=8)] = 96


class DetectorBaseline(_Recipe):
    """A detector, its weights as they are, in float32. Of an ONNX file `detector` says how images are prepared and what
    its output means, `labels` are its classes. A hub id or folder says both; `image_size` where it has no one size."""

    kind: Literal["baseline-detector"] = "baseline-detector"
    detector: Annotated[Detector | None, Field(exclude_if=absent)] = None
    labels: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...] | None, Field(min_length=1, exclude_if=absent)
    ] = None
    image_size: Annotated[tuple[Side, Side] | None, Field(exclude_if=absent)] = None

    @model_validator(mode="after")
    def _says_one_of_two(self) -> Self:
        given = self.detector is not None
        if given != (self.labels is not None) or (given and self.image_size is not None):
            raise ValueError(
                "detector and labels: both and no more for an ONNX file, neither for a Hugging Face folder"
            )
        if self.detector is not None and self.detector.has_queries:
            raise ValueError(f"detector: {self.detector.decoder} is of a Hugging Face folder: leave it and labels out")
        if self.labels is not None and len(set(self.labels)) != len(self.labels):
            raise ValueError("labels: each must be another one")
        return self


class TrainText(_Recipe):
    """Fine-tune a text classifier: the source's encoder with a new head, on the first `examples` of `task`'s training
    split, each text cut to `tokens`."""

    kind: Literal["train-text"] = "train-text"
    task: TaskName
    examples: Positive
    epochs: Positive
    batch: Positive = 16
    learning_rate: Rate = 2e-4
    tokens: Annotated[int, Field(ge=8, le=512)] = 128


class Diffusion(_Recipe):
    """Train an image generator from nothing on the first `examples` of `task`'s training split: a class-conditional
    diffusion model, a UNet with `width` channels at half and `deep_width` at a quarter of the image's side, which
    draws in `sampling_steps` steps."""

    kind: Literal["diffusion"] = "diffusion"
    task: TaskName
    examples: Positive
    width: UNetWidth
    deep_width: UNetWidth
    steps: Annotated[int, Field(gt=0, description="batches trained on")]
    batch: Positive = 64
    learning_rate: Rate = 2e-3
    sampling_steps: Annotated[int, Field(ge=2, le=100)] = 12


class Quantize(_Recipe):
    """Fewer bits a number. `w8a8`, `w4a16`: integer weights (and activations) for text, served by vLLM; `w8a8` rounds
    activations by the range of each token as it comes, which is what dynamic-range int8 is; `w8a8-fp8`: the same in
    8-bit floats, on a GPU; `nf4`: 4-bit normal floats and `llm-int8`: 8 bits with outliers apart, by bitsandbytes;
    `int8`: static 8-bit weights and activations of an image model or a text encoder; `int8-dynamic`: 8-bit weights,
    activations rounded as they come; `bf16`, `fp16`: stored in 16 bits, and executed in them where the machine can.
    Layers whose last names are in `int8_layers` stay in int8 where the others become int4."""

    kind: Literal["quantize"] = "quantize"
    scheme: Literal["w8a8", "w4a16", "nf4", "int8", "bf16", "fp16", "llm-int8", "w8a8-fp8", "int8-dynamic"]
    algorithm: Literal["rtn", "gptq", "awq"] = "rtn"
    smoothing: Annotated[float, Field(gt=0, lt=1, description="SmoothQuant's share moved to the weights")] | None = None
    group_size: Positive | None = None
    calibration: Calibration | None = None
    int8_layers: Annotated[tuple[LayerName, ...] | None, Field(min_length=1, exclude_if=absent)] = None

    @model_validator(mode="after")
    def _fields_fit_scheme(self) -> Self:
        if (self.group_size is not None) != (self.scheme == "w4a16"):
            raise ValueError("group_size: given exactly when the scheme is w4a16")
        if self.int8_layers is not None and self.scheme != "w4a16":
            raise ValueError(f"int8_layers: not for scheme {self.scheme}")
        if self.scheme not in ("w8a8", "w4a16") and (self.algorithm != "rtn" or self.smoothing is not None):
            raise ValueError(f"algorithm and smoothing: not for scheme {self.scheme}")
        if self.algorithm == "awq" and (self.scheme != "w4a16" or self.smoothing is not None):
            raise ValueError("algorithm: awq is for scheme w4a16, and smooths by itself")
        if self.smoothing is not None and self.scheme != "w8a8":
            raise ValueError(f"smoothing: not for scheme {self.scheme}")
        learns = self.algorithm != "rtn" or self.smoothing is not None or self.scheme == "int8"
        if learns != (self.calibration is not None):
            need = "needs" if learns else "does not use"
            raise ValueError(f"calibration: this recipe {need} it (gptq, awq, smoothing and int8 look at examples)")
        return self


class Recovery(Document):
    """How what was cut heals: training on the first `examples` of `task`'s training split, the parent as teacher."""

    task: TaskName
    examples: Positive
    epochs: Positive
    batch: Positive = 64
    learning_rate: Rate = 2e-3


class Distillation(Document):
    """How a smaller model learns from its parent: `steps` batches of `batch` texts of the training splits of `tasks`,
    a fair share of each."""

    tasks: Annotated[tuple[TaskName, ...], Field(min_length=1)]
    steps: Positive
    batch: Positive = 16
    learning_rate: Rate = 1e-4


_OF_STRUCTURE = {
    "channels": ("sparsity", "recovery"),
    "layers": ("drop_layers", "width", "calibration", "distillation"),
    "heads": ("sparsity", "recovery"),
}
_MAY_BE_LEFT_OUT = ("drop_layers", "width", "distillation")
_NO_2_4 = (
    "2:4 is not offered: nothing here runs it. vLLM loads no 2:4 checkpoint any more, OpenVINO and torch have no "
    "kernel for it on a CPU; dense shapes that are smaller (channels, layers) run faster everywhere"
)


class Prune(_Recipe):
    """Remove structure, and leave a smaller dense model: zeros alone make nothing faster here. `channels`: the
    weakest `sparsity` of each convolution's output channels, then `recovery`. `layers`: whole layers of a text model,
    and feed-forward neurons where `width` says so, chosen on calibration examples, then `distillation`. `heads`: the
    weakest `sparsity` of a text encoder's attention heads and feed-forward neurons, layer by layer, then `recovery`."""

    kind: Literal["prune"] = "prune"
    structure: Literal["channels", "layers", "heads"]
    sparsity: Annotated[float, Field(gt=0, lt=1, description="share of the channels or heads removed")] | None = None
    recovery: Recovery | None = None
    drop_layers: Positive | None = None
    width: Annotated[float, Field(gt=0, lt=1, description="share of the feed-forward neurons kept")] | None = None
    calibration: Calibration | None = None
    distillation: Distillation | None = None

    @field_validator("structure", mode="before")
    @classmethod
    def _nothing_runs_2_4(cls, value: object) -> object:
        if value == "2:4":
            raise ValueError(_NO_2_4)
        return value

    @model_validator(mode="after")
    def _fields_fit_structure(self) -> Self:
        wanted = _OF_STRUCTURE[self.structure]
        for field in sorted({field for fields in _OF_STRUCTURE.values() for field in fields}):
            given = getattr(self, field) is not None
            if given and field not in wanted:
                raise ValueError(f"{field}: not for structure {self.structure}")
            if not given and field in wanted and field not in _MAY_BE_LEFT_OUT:
                raise ValueError(f"{field}: needed for structure {self.structure}")
        if self.structure == "layers" and not (self.drop_layers or self.width):
            raise ValueError("drop_layers, width: structure layers needs at least one of them")
        return self


class Sparsify(_Recipe):
    """Zeros without structure: of each layer's weights the `sparsity` that matters least, and the shapes stay. No
    engine here runs it faster or stores it smaller. `magnitude`: the smallest weights; `wanda`, `sparsegpt`: those that
    the outputs on calibration examples miss least."""

    kind: Literal["sparsify"] = "sparsify"
    algorithm: Literal["magnitude", "wanda", "sparsegpt"]
    sparsity: Annotated[float, Field(gt=0, lt=1, description="share of each layer's weights that become zero")]
    calibration: Calibration | None = None

    @model_validator(mode="after")
    def _examples_fit_algorithm(self) -> Self:
        if (self.algorithm != "magnitude") != (self.calibration is not None):
            need = "does not use" if self.algorithm == "magnitude" else "needs"
            raise ValueError(f"calibration: algorithm {self.algorithm} {need} it")
        return self


class LoRA(_Recipe):
    """A low-rank adapter trained on a task's training split; the weights it adapts stay. For an image classifier
    `architecture` and `image_size` say what the source's weights are, and a new head is trained along."""

    kind: Literal["lora"] = "lora"
    task: TaskName
    rank: Positive
    alpha: Annotated[float, Field(gt=0)]
    steps: Positive
    batch: Positive = 16
    learning_rate: Rate = 5e-4
    architecture: Literal["efficientnet-lite0", "huggingface"] | None = None
    image_size: ImageSize | None = None

    @model_validator(mode="after")
    def _an_image_model_has_both(self) -> Self:
        if (self.architecture is None) != (self.image_size is None):
            raise ValueError("architecture and image_size: both for an image classifier, neither otherwise")
        return self


class Merge(_Recipe):
    """An adapter, the parent, added to the weights that it was trained on: a dense model that serves without an
    adapter's cost, and that further recipes can start from."""

    kind: Literal["merge"] = "merge"


Recipe = Annotated[
    Baseline
    | Train
    | TrainText
    | TrainDetector
    | DetectorBaseline
    | Diffusion
    | Quantize
    | Prune
    | Sparsify
    | LoRA
    | Merge,
    Field(discriminator="kind"),
]
