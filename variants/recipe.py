"""Recipes: how a variant is made from its parent. Typed, frozen, hashable, told apart by `kind`.

A recipe says what is wanted, never how it is computed: `variants.methods` finds the function for it, and refuses a
recipe that no method carries out yet before any work begins. What is said here must stand on its own: a combination
of fields that means nothing is refused when the recipe is read.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from variants.errors import RecipeError
from variants.typed import Document

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0, lt=1)]
ImageSize = Annotated[int, Field(ge=32, le=1024, multiple_of=16, description="pixels, height and width")]
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
    """Fewer bits a number. `w8a8`, `w4a16`: integer weights (and activations) for text, served by vLLM; `nf4`: 4-bit
    normal floats by bitsandbytes; `int8`: static 8-bit weights and activations of an image model or a text
    encoder; `bf16`: an image model stored and executed in bfloat16."""

    kind: Literal["quantize"] = "quantize"
    scheme: Literal["w8a8", "w4a16", "nf4", "int8", "bf16"]
    algorithm: Literal["rtn", "gptq"] = "rtn"
    smoothing: Annotated[float, Field(gt=0, lt=1, description="SmoothQuant's share moved to the weights")] | None = None
    group_size: Positive | None = None
    calibration: Calibration | None = None

    @model_validator(mode="after")
    def _fields_fit_scheme(self) -> Self:
        if (self.group_size is not None) != (self.scheme == "w4a16"):
            raise ValueError("group_size: given exactly when the scheme is w4a16")
        if self.scheme not in ("w8a8", "w4a16") and (self.algorithm != "rtn" or self.smoothing is not None):
            raise ValueError(f"algorithm and smoothing: not for scheme {self.scheme}")
        learns = self.algorithm == "gptq" or self.smoothing is not None or self.scheme == "int8"
        if learns != (self.calibration is not None):
            need = "needs" if learns else "does not use"
            raise ValueError(f"calibration: this recipe {need} it (gptq, smoothing and int8 look at examples)")
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
    "magnitude": ("sparsity",),
    "layers": ("drop_layers", "width", "calibration", "distillation"),
}
_MAY_BE_LEFT_OUT = ("drop_layers", "width", "distillation")


class Prune(_Recipe):
    """Remove structure, and leave a smaller dense model: zeros alone make nothing faster here. `channels`: the
    weakest `sparsity` of each convolution's output channels, then `recovery`. `layers`: whole layers of a text model,
    and feed-forward neurons where `width` says so, chosen on calibration examples, then `distillation`. `magnitude`:
    no structure at all, the smallest `sparsity` of an image generator's weights become zero, which saves nothing here
    and is there to be measured."""

    kind: Literal["prune"] = "prune"
    structure: Literal["channels", "layers", "magnitude"]
    sparsity: Annotated[float, Field(gt=0, lt=1, description="share of the channels or weights removed")] | None = None
    recovery: Recovery | None = None
    drop_layers: Positive | None = None
    width: Annotated[float, Field(gt=0, lt=1, description="share of the feed-forward neurons kept")] | None = None
    calibration: Calibration | None = None
    distillation: Distillation | None = None

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
    architecture: Literal["efficientnet-lite0"] | None = None
    image_size: ImageSize | None = None

    @model_validator(mode="after")
    def _an_image_model_has_both(self) -> Self:
        if (self.architecture is None) != (self.image_size is None):
            raise ValueError("architecture and image_size: both for an image classifier, neither otherwise")
        return self


Step = Annotated[Baseline | Train | Diffusion | Quantize | Prune | LoRA, Field(discriminator="kind")]


class Chain(_Recipe):
    """Several recipes, one after the other, kept as one artifact: prune, then train again, then quantize."""

    kind: Literal["chain"] = "chain"
    steps: Annotated[tuple[Step, ...], Field(min_length=2)]


Recipe = Annotated[Baseline | Train | Diffusion | Quantize | Prune | LoRA | Chain, Field(discriminator="kind")]

_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(Recipe)


def parse_recipe(data: object, field: str = "recipe") -> Recipe:
    """A recipe from plain data (a mapping out of YAML or JSON). RecipeError names the wrong field below `field`."""
    try:
        return _ADAPTER.validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join([field, *(str(part) for part in first["loc"][1:])])
        raise RecipeError(first["msg"].removeprefix("Value error, "), field=where) from error
