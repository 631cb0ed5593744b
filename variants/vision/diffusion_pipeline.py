"""Text-to-image pipelines of diffusers: read from a folder, and asked for one picture.

Methods and the engine share this, so a variant is measured as it is served. Everything but the denoiser is computed by
torch, and so is the denoiser, except where an artifact has it as IR (`variants.vision.denoiser_ir`). Pictures are those
that diffusers' own pipeline draws with the same prompt, seed, size and steps. Safety checkers are left out.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from variants.errors import InputError, MissingDependency, SourceError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Pixels = npt.NDArray[np.uint8]

INDEX = "model_index.json"
DENOISERS = ("unet", "transformer")
"""The part of a pipeline that is run at each step, by the names that diffusers gives it."""
CHECKER = "safety_checker"
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
MOST_STEPS = 100
"""Of one picture. diffusers' own defaults are 50 or fewer."""
LEAST_SIDE = 64
"""Pixels of a small picture that only shows that a pipeline works."""


class Size(NamedTuple):
    """Pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def read_index(folder: Path, field: str) -> dict[str, Any]:
    """The `model_index.json` of a folder, before any weights are read.

    SourceError, which names `field`, where it is no pipeline from text to image that the installed diffusers knows, or
    a part of it is stored as a pickle.
    """
    try:
        index = json.loads((folder / INDEX).read_bytes())
    except (OSError, ValueError) as error:
        mend = "name a folder that diffusers' save_pretrained wrote"
        raise SourceError(f"{folder}: {INDEX} cannot be read: {error}", field=field, mend=mend) from None
    name = index.get("_class_name") if isinstance(index, dict) else None
    if not isinstance(name, str) or name not in known_pipelines():
        mend = "one that AutoPipelineForText2Image loads, such as StableDiffusionPipeline"
        raise SourceError(f"{folder.name} is a {name}, which is not served", field=field, mend=mend)
    if not any(has_part(index, part) for part in DENOISERS):
        raise SourceError(f"{folder.name}: a {name} without {' or '.join(DENOISERS)} is not served", field=field)
    if pickle := next(pickles_in(folder, index), None):
        mend = "pickles are not loaded: save it as safetensors"
        raise SourceError(f"{pickle.relative_to(folder)} is a pickle", field=field, mend=mend)
    return dict(index)


def has_part(index: dict[str, Any], part: str) -> bool:
    """Whether an index names the library and class of a part. diffusers writes nulls for one that was left out."""
    named = index.get(part)
    return isinstance(named, list) and len(named) == 2 and all(isinstance(each, str) for each in named)


def known_pipelines() -> frozenset[str]:
    """The classes that draw by a prompt alone. Those with "Control" in their names need a picture as well."""
    diffusers()
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

    names = (each.__name__ for each in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values())
    return frozenset(name for name in names if "Control" not in name)


def pickles_in(folder: Path, index: dict[str, Any]) -> Iterator[Path]:
    """Pickles of parts that are used and have no safetensors. The weights of an IR end in .bin as well."""
    for part in sorted(name for name in index if name != CHECKER and (folder / name).is_dir()):
        if not any(any((folder / part).glob(f"*{kind}")) for kind in (".safetensors", ".xml")):
            yield from (path for path in sorted((folder / part).iterdir()) if path.suffix in PICKLES)


def read(folder: Path, dtype: str, field: str, **parts: Any) -> Any:
    """The pipeline in `folder`, its parts in `dtype` ("bfloat16" or "float32"), on CPU. `parts` replace its own.

    SourceError as for `read_index`, and where diffusers cannot read it.
    """
    index = read_index(folder, field)
    import torch
    from diffusers import AutoPipelineForText2Image

    options = dict(parts)
    if CHECKER in index:
        options |= {CHECKER: None, "requires_safety_checker": False}
    try:
        pipeline: Any = AutoPipelineForText2Image.from_pretrained(
            folder, dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True, **options
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SourceError(f"diffusers cannot read {folder.name}: {reason}", field=field) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def denoiser_of(pipeline: Any) -> tuple[str, Any]:
    """The name of the part that is run at each step, and the part."""
    name = next(each for each in DENOISERS if getattr(pipeline, each, None) is not None)
    return name, getattr(pipeline, name)


def largest(pipeline: Any) -> Size:
    """The size that the pipeline draws by itself. It is the largest one that is offered."""
    side = getattr(pipeline, "default_sample_size", None) or denoiser_of(pipeline)[1].config.sample_size
    height, width = side if isinstance(side, list | tuple) else (side, side)
    return Size(width * scale_of(pipeline), height * scale_of(pipeline))


def grain(pipeline: Any) -> int:
    """Both sides of a picture are multiples of this: then no part of the denoiser rounds."""
    config = denoiser_of(pipeline)[1].config
    if "block_out_channels" in config:
        return int(scale_of(pipeline) * 2 ** (len(config["block_out_channels"]) - 1))
    return int(scale_of(pipeline) * max(2, config.get("patch_size") or 1))


def scale_of(pipeline: Any) -> int:
    """Pixels of a picture for each place of a latent."""
    return int(getattr(pipeline, "vae_scale_factor", 1))


def smaller(pipeline: Any, side: int) -> Size:
    """The smallest offered size with sides of at least `side` pixels, or the largest one."""
    step, most = grain(pipeline), largest(pipeline)
    wanted = -(-side // step) * step
    return Size(min(wanted, most.width), min(wanted, most.height))


def size_of(pipeline: Any, text: str | None) -> Size:
    """The size that a request asks for, like "512x512". InputError where it is not offered."""
    most, step = largest(pipeline), grain(pipeline)
    if text in (None, "auto"):
        return most
    sides = text.split("x") if text else []
    mend = f"{most}, or smaller with sides that are multiples of {step}"
    if len(sides) != 2 or not all(side.isascii() and side.isdecimal() and len(side) < 6 for side in sides):
        raise InputError(f"{text!r} is no size", field="size", mend=mend)
    size = Size(int(sides[0]), int(sides[1]))
    fits = 0 < size.width <= most.width and 0 < size.height <= most.height
    if not fits or (size != most and (size.width % step or size.height % step)):
        raise InputError(f"{text} is not offered", field="size", mend=mend)
    return size


def check_prompt(pipeline: Any, prompt: str) -> None:
    """InputError for a prompt of more tokens than the text encoder reads: diffusers would cut it."""
    tokenizers = [part for name, part in pipeline.components.items() if name.startswith("tokenizer") and part]
    counts = [(len(each(prompt)["input_ids"]), int(each.model_max_length)) for each in tokenizers]
    if counts and all(count > most for count, most in counts):
        count, most = max(counts, key=lambda pair: pair[1])
        raise InputError(f"{count} tokens, of which {most} would be read", field="prompt", mend="a shorter one")


def draw(pipeline: Any, prompt: str, seed: int, size: Size, steps: int | None = None) -> "Floats":
    """One picture: float32 [height, width, 3] from 0 to 1, not finite where the pipeline computes no numbers.

    `steps` is left to diffusers where it is None. The noise is that of torch's generator on CPU with `seed`.
    """
    import numpy as np
    import torch

    asked = {} if steps is None else {"num_inference_steps": steps}
    generator = torch.Generator("cpu").manual_seed(seed)
    drawn = pipeline(
        prompt=prompt, width=size.width, height=size.height, generator=generator, output_type="np", **asked
    )
    return np.asarray(drawn.images[0], dtype=np.float32)


def pixels(picture: "Floats") -> "Pixels":
    """uint8 [height, width, 3], rounded as diffusers does."""
    rounded: Pixels = (picture * 255).round().astype("uint8")
    return rounded


def diffusers() -> Any:
    """The package. MissingDependency where it is not installed."""
    try:
        import diffusers
    except ImportError as error:
        raise MissingDependency("diffusers is not installed", mend="pip install diffusers") from error
    return diffusers
