"""Converts published image processors to the `Preprocess` of a manifest.

transformers reads the settings, with its defaults for each class. Serving prepares images by
`variants.vision.preprocess`, which needs neither transformers nor torch. Here both prepare a few pictures. A processor
with another result is refused, because a classifier with wrongly prepared images gives wrong answers without an error.
Where a crop leaves an odd number of pixels, serving rounds as torchvision does, so both may differ by one pixel.
"""

import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

from variants.errors import SourceError
from variants.vision.preprocess import Preprocess, pixels_of

FILE = "preprocessor_config.json"
CONVNEXT_SQUEEZES = 384
"""From this side on, ConvNext's processor crops nothing (`ConvNextImageProcessor.resize`)."""
PROBES = ((96, 64), (60, 100))
"""Width and height of the pictures that both prepare."""
TOLERANCE = 1e-3
"""Of a normalised value, where a step of 1 in 255 is about 0.02. The order of float32 operations changes it by 1e-6."""


def read(folder: Path, field: str) -> Preprocess:
    """The preparation that the image processor in a Hugging Face folder does.

    SourceError, which names `field`, where the processor is missing or not readable, or where a manifest cannot
    describe what it does.
    """
    try:
        processor = _class_of(folder).from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"transformers cannot read the image processor in {folder}: {error}"
        raise SourceError(message, field=field, mend=f"a {FILE}") from error
    cause = None
    try:
        preprocess = _settings_of(processor)
        if _give_equal_pixels(processor, preprocess):
            return preprocess
    except (ValueError, TypeError, AttributeError, ZeroDivisionError) as error:
        cause = error
    message = f"{type(processor).__name__} in {folder} does more to an image than a manifest can say"
    mend = "a processor that resizes, cuts the middle, scales and normalises"
    raise SourceError(
        f"{message}: {' '.join(str(cause).split())}" if cause else message, field=field, mend=mend
    ) from cause


def _class_of(folder: Path) -> Any:
    """The processor's class that uses Pillow. `AutoImageProcessor` would need torchvision."""
    import transformers
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    settings = json.loads((folder / FILE).read_bytes())
    named = settings.get("image_processor_type", settings.get("feature_extractor_type"))
    if named is None:
        named = IMAGE_PROCESSOR_MAPPING_NAMES[json.loads((folder / "config.json").read_bytes())["model_type"]]["pil"]
    return getattr(transformers, re.sub(r"(FeatureExtractor|ImageProcessor(Fast|Pil)?)$", "ImageProcessorPil", named))


def _settings_of(processor: Any) -> Preprocess:
    """The settings of a transformers processor, with mean and std for pixel values 0 to 255. ValueError, TypeError or
    AttributeError where it has other settings."""
    from PIL import Image

    if not processor.do_resize:
        raise ValueError("do_resize is false")
    scale = processor.rescale_factor if processor.do_rescale else 1.0
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ((0.0,) * 3, (1.0,) * 3)
    size, short_side, whole = _sizes(processor)
    return Preprocess(
        size=size,
        mean=tuple(value / scale for value in mean),
        std=tuple(value / scale for value in std),
        short_side=short_side,
        whole=whole,
        resample=Image.Resampling(processor.resample).name.lower(),
    )


def _sizes(processor: Any) -> tuple[Any, int | None, Any]:
    """The final size, the shorter side before a crop, and the whole size before a crop: `Preprocess`' size fields."""
    side, fixed = processor.size.shortest_edge, (processor.size.height, processor.size.width)
    if (share := getattr(processor, "crop_pct", None)) is not None:
        return (side, side), None if side >= CONVNEXT_SQUEEZES else int(side / share), None
    if not processor.do_center_crop:
        return fixed, None, None
    cut = processor.crop_size.height, processor.crop_size.width
    return cut, side, None if side else fixed


def _give_equal_pixels(processor: Any, preprocess: Preprocess) -> bool:
    """Whether both prepare a few pictures equally, up to a shift of one pixel down or to the right."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)
    for width, height in PROBES:
        picture, file = Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8)), BytesIO()
        picture.save(file, "PNG")
        theirs = processor(picture, return_tensors="np")["pixel_values"][0]
        ours = pixels_of(file.getvalue(), preprocess)
        if theirs.shape != ours.shape:
            return False
        _, high, wide = ours.shape
        pairs = [(theirs[:, y:, x:], ours[:, : high - y, : wide - x]) for y, x in np.ndindex(2, 2)]
        if not any(np.allclose(one, other, rtol=0, atol=TOLERANCE) for one, other in pairs):
            return False
    return True
