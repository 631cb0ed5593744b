"""Image classification by transformers on torch, from a Hugging Face folder (`AutoModelForImageClassification`).

For architectures that OpenVINO does not run. Preprocessing comes from the manifest, and of a bare folder
from its `preprocessor_config.json`, as far as it is what the manifest can say: a resize to a fixed size
(bilinear), a scale and a normalisation. Anything else (crops, other filters) is refused at the start: a
classifier that is fed images prepared otherwise than in its training answers wrongly without a word.
"""

import json
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageClassification

from serve.engines.artifact import Artifact
from serve.engines.image_api import Floats
from variants.errors import EngineError
from variants.manifest import Preprocess

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
NO_PREPROCESS = ("do_center_crop", "do_pad")


class TorchClassifier:
    """A classifier in eval mode."""

    platform = "torch"

    def __init__(self, artifact: Artifact) -> None:
        """Raises EngineError where the folder holds no classifier or asks for what this engine does not do."""
        manifest = artifact.manifest
        self.executes: str = "f32" if manifest is None else manifest.precision
        if self.executes not in DTYPES:
            raise EngineError(f"{self.executes!r}", field="manifest.precision", mend=", ".join(DTYPES))
        self.dtype = DTYPES[self.executes]
        try:
            self.model = AutoModelForImageClassification.from_pretrained(
                artifact.model, dtype=self.dtype, local_files_only=True, use_safetensors=True
            ).eval()
        except (OSError, ValueError) as error:
            mend = "a folder with config.json and model.safetensors"
            raise EngineError(f"no image classifier: {error}", field="--artifact", mend=mend) from None
        self.computed_ns = 0
        names: dict[int, str] = self.model.config.id2label
        given = None if manifest is None else manifest.labels
        self.labels = given or tuple(names[i] for i in sorted(names))
        prepared = None if manifest is None else manifest.preprocess
        self.preprocess = prepared or preprocess_of(artifact.model / "preprocessor_config.json")

    @torch.inference_mode()
    def predict(self, pixels: Floats) -> Floats:
        began = time.perf_counter_ns()
        logits = self.model(pixel_values=torch.tensor(pixels, dtype=self.dtype)).logits
        self.computed_ns += time.perf_counter_ns() - began
        scores: Floats = logits.float().softmax(dim=-1).numpy()
        return scores


def preprocess_of(path: Path) -> Preprocess:
    """What a `preprocessor_config.json` says, in the manifest's terms (pixels 0 to 255). Raises EngineError."""
    if not path.is_file():
        raise EngineError("missing", field=str(path), mend="a manifest with preprocess, or this file")
    config: dict[str, Any] = json.loads(path.read_text())
    size = config.get("size")
    fixed = size if isinstance(size, dict) else {"height": size, "width": size}
    wrong = [name for name in NO_PREPROCESS if config.get(name)]
    if not isinstance(fixed.get("height"), int) or not isinstance(fixed.get("width"), int):
        wrong.append("size")
    if config.get("resample", Image.Resampling.BILINEAR) != Image.Resampling.BILINEAR:
        wrong.append("resample")
    if wrong:
        mend = "a bilinear resize to a fixed height and width"
        raise EngineError(f"{', '.join(wrong)} not supported", field=str(path), mend=mend)
    scale = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0
    normalised = config.get("do_normalize", True)
    mean = config["image_mean"] if normalised else [0.0] * 3
    std = config["image_std"] if normalised else [1.0] * 3
    return Preprocess(
        size=(fixed["height"], fixed["width"]),
        mean=tuple(value / scale for value in mean),
        std=tuple(value / scale for value in std),
    )
