"""Recipes: how a variant is made from its parent. Typed, frozen and hashable documents, distinguished by `kind`.

A recipe says what is wanted, not how it is computed. `variants.methods.registry` finds the function for a recipe. It
refuses a recipe without a method before any work begins. An invalid combination of fields is refused when the recipe is
read.

Several compression steps are several variants, each with the one before as its parent. So each step is an artifact with
its own card, and there is no recipe for a chain.
"""

import math
from typing import Annotated, Literal, Self, cast

from pydantic import BeforeValidator, Field, JsonValue, field_validator, model_validator

from variants.document import Document, absent
from variants.plugins import NAME, TASK_NAME
from variants.vision.detector import Detector, Side

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0, lt=1)]
ImageSize = Annotated[int, Field(ge=32, le=1024, multiple_of=16, description="pixels, height and width")]
LayerName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", description="a layer's last name part, like down_proj")]
UNetWidth = Annotated[int, Field(ge=16, le=512, multiple_of=8, description="channels, in normalisation groups of 8")]
TaskName = Annotated[str, Field(pattern=f"^{TASK_NAME.pattern}$", description="a name in variants.tasks")]


class Calibration(Document):
    """The examples that a method may use: the first `examples` of the calibration split of `task`."""

    task: TaskName
    examples: Positive


class Baseline(Document):
    """The source's weights, converted to `dtype`, in the format that an engine loads."""

    kind: Literal["baseline"] = "baseline"
    dtype: Literal["bfloat16", "float32"]


class Train(Document):
    """Fine-tune an image classifier with a new head on the first `examples` of the training split of `task`."""

    kind: Literal["train"] = "train"
    task: TaskName
    architecture: Literal["efficientnet-lite0", "huggingface"]
    examples: Positive
    epochs: Positive
    batch: Positive = 64
    learning_rate: Rate = 2e-3
    image_size: ImageSize


class TrainDetector(Document):
    """Train a small detector from random weights on the first `examples` of the training split of `task`.

    It has one scale and no anchors: it predicts a box at the place of an object's centre. `width` is the number of
    channels of its widest layers.
    """

    kind: Literal["train-detector"] = "train-detector"
    task: TaskName
    examples: Positive
    epochs: Positive
    batch: Positive = 32
    learning_rate: Rate = 2e-3
    image_size: ImageSize
    width: Annotated[int, Field(ge=16, le=512, multiple_of=8)] = 96


class DetectorBaseline(Document):
    """A detector with the source's weights in float32.

    For an ONNX file, `detector` describes the image preparation and the output, and `labels` are the classes. A Hugging
    Face folder or hub id contains both. It needs `image_size`, height and width, if it has no fixed size.
    """

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
            raise ValueError("labels: each must be different")
        return self


class TrainText(Document):
    """Fine-tune a text classifier, the source's encoder with a new head, on the first `examples` of the training split
    of `task`. Each text is cut to `tokens` tokens."""

    kind: Literal["train-text"] = "train-text"
    task: TaskName
    examples: Positive
    epochs: Positive
    batch: Positive = 16
    learning_rate: Rate = 2e-4
    tokens: Annotated[int, Field(ge=8, le=512)] = 128


class Diffusion(Document):
    """Train a class-conditional diffusion model from random weights on the first `examples` of the training split of
    `task`.

    The model is a UNet with `width` channels at half of the image's side, and `deep_width` at a quarter. It generates a
    picture in `sampling_steps` steps.
    """

    kind: Literal["diffusion"] = "diffusion"
    task: TaskName
    examples: Positive
    width: UNetWidth
    deep_width: UNetWidth
    steps: Annotated[int, Field(gt=0, description="batches trained on")]
    batch: Positive = 64
    learning_rate: Rate = 2e-3
    sampling_steps: Annotated[int, Field(ge=2, le=100)] = 12


_DEFAULT_LIMITS = {
    ("share", False): 0.2, ("perplexity", False): 1.0, ("share", True): 0.02, ("perplexity", True): 0.05,
}  # fmt: skip


def _limit(given: object) -> object:
    """For one message instead of one a type."""
    if given is None or given == "default" or (type(given) in (int, float) and 0 <= cast(float, given) < math.inf):
        return given
    raise ValueError("must be a number greater than or equal to 0, or null for any loss")


class Lossy(Document):
    """What recipes have whose variant may lose what its parent can.

    `most_loss` is the most that a build may lose on calibration examples: 0.2 is 20 points of accuracy or agreement, or
    a perplexity that is higher by a fifth. The default is 20 points, or twice the perplexity; with `keep: auto` 2
    points, or a twentieth. None allows any loss. It is in the key of an artifact only where it decides bytes: with
    `keep`.
    """

    most_loss: Annotated[
        float | Literal["default"] | None, BeforeValidator(_limit), Field(exclude_if=lambda most: most == "default")
    ] = "default"

    def limit(self, measure: str) -> float | None:
        """The most that a build may lose by `measure`, as `most_loss`; None for any loss."""
        if self.most_loss != "default":
            return self.most_loss
        return _DEFAULT_LIMITS["perplexity" if measure == "perplexity" else "share", self.keeps]

    @property
    def keeps(self) -> bool:
        """Whether layers stay in 16 bits until the limit holds."""
        return False

    def of_bytes(self) -> Self:
        """The recipe with those fields alone that decide the artifact's bytes."""
        return self if self.keeps else self.model_copy(update={"most_loss": "default"})


class Quantize(Lossy):
    """Store numbers in fewer bits. `scheme` is one of:

    - `w8a8`: 8-bit integer weights and activations of a text model, served by vLLM. Each token's activations are scaled
      by their own range during serving ("dynamic-range int8").
    - `w4a16`: 4-bit integer weights of a text model, served by vLLM. Layers in `int8_layers` get 8 bits.
    - `w8a8-fp8`: as `w8a8`, in 8-bit floats, on a GPU.
    - `nf4`: 4-bit normal floats, by bitsandbytes.
    - `llm-int8`: 8-bit integers with separate outliers, by bitsandbytes.
    - `int8`: 8-bit integer weights and activations, with static ranges from `calibration`.
    - `int8-dynamic`: 8-bit integer weights, and activations with ranges that are computed during serving.
    - `bf16`, `fp16`: 16-bit weights, executed in 16 bits where the machine can.

    With `keep: auto`, the layers that cost most stay in 16 bits until the build loses no more than `most_loss`.
    """

    kind: Literal["quantize"] = "quantize"
    scheme: Literal["w8a8", "w4a16", "nf4", "int8", "bf16", "fp16", "llm-int8", "w8a8-fp8", "int8-dynamic"]
    algorithm: Literal["rtn", "gptq", "awq"] = "rtn"
    smoothing: Annotated[float, Field(gt=0, lt=1, description="SmoothQuant's share moved to the weights")] | None = None
    group_size: Positive | None = None
    calibration: Calibration | None = None
    int8_layers: Annotated[tuple[LayerName, ...] | None, Field(min_length=1, exclude_if=absent)] = None
    keep: Annotated[Literal["auto"] | None, Field(exclude_if=absent)] = None

    @property
    def keeps(self) -> bool:
        return self.keep is not None

    @property
    def learns(self) -> bool:
        """Whether rounding itself uses the calibration examples, which `keep` has too."""
        return self.algorithm != "rtn" or self.smoothing is not None

    @model_validator(mode="after")
    def _keep_has_a_limit(self) -> Self:
        if self.keep and self.scheme in ("bf16", "fp16", "int8-dynamic"):
            raise ValueError(f"keep: not for scheme {self.scheme}")
        if self.keep and self.most_loss is None:
            raise ValueError("most_loss: keep auto needs a limit that it holds")
        return self

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
        learns = self.learns or self.scheme == "int8" or self.keeps
        if learns != (self.calibration is not None):
            need = "needs" if learns else "does not use"
            raise ValueError(f"calibration: this recipe {need} it (gptq, awq, smoothing, int8 and keep use examples)")
        return self


class Recovery(Document):
    """Training after pruning, on the first `examples` of the training split of `task`, with the parent as teacher."""

    task: TaskName
    examples: Positive
    epochs: Positive
    batch: Positive = 64
    learning_rate: Rate = 2e-3


class Distillation(Document):
    """Training of a smaller model with the parent as teacher: `steps` batches of `batch` texts from the training splits
    of `tasks`, an equal share of each."""

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
    "2:4 is not offered: no engine here runs it. vLLM does not load 2:4 checkpoints any more. OpenVINO and torch have "
    "no CPU kernel for it. Smaller dense models (channels, layers) are faster everywhere"
)


class Prune(Lossy):
    """Remove whole structures, so that the model becomes smaller but stays dense. `structure` is one of:

    - `channels`: the weakest share `sparsity` of each convolution's output channels, then `recovery`.
    - `layers`: `drop_layers` layers of a text model, and its feed-forward neurons down to the share `width`, chosen on
      calibration examples, then `distillation`.
    - `heads`: the weakest share `sparsity` of a text encoder's attention heads and feed-forward neurons in each layer,
      then `recovery`.
    """

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


class Sparsify(Lossy):
    """Set the share `sparsity` of each layer's weights to zero; shapes stay. No engine here is faster or smaller by it.

    `magnitude` chooses the smallest weights. `wanda` and `sparsegpt` choose those that change the outputs on
    calibration examples least.
    """

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


class LoRA(Document):
    """Train a low-rank adapter on the training split of `task`; the base's weights do not change.

    For an image classifier, `architecture` and `image_size` describe the source, and a new head is trained as well.
    """

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


class Published(Document):
    """The variant's `source` as it is: a checkpoint that somebody else has compressed, or an OpenVINO IR or an ONNX
    file of the parent's model."""

    kind: Literal["published"] = "published"


class PublishedAdapter(Document):
    """The variant's `source` as it is: a LoRA adapter that somebody else has trained for the parent."""

    kind: Literal["adapter"] = "adapter"


class Merge(Document):
    """Add an adapter, the parent, to the weights that it was trained on. The result is a dense model. It serves without
    the cost of an adapter, and further recipes can start from it."""

    kind: Literal["merge"] = "merge"


class PluginRecipe(Document):
    """What the method `method` of another distribution makes (`variants.plugins`). `options` are its own, and it checks
    them. `tasks` are those whose examples it may use."""

    kind: Literal["plugin"] = "plugin"
    method: Annotated[str, Field(pattern=f"^{NAME.pattern}$", description="an entry point of understudy.methods")]
    options: dict[str, JsonValue] = Field(default_factory=dict)
    tasks: tuple[TaskName, ...] = ()


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
    | Published
    | PublishedAdapter
    | Merge
    | PluginRecipe,
    Field(discriminator="kind"),
]
