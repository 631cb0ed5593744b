"""Image classification by transformers on torch, from a Hugging Face folder (`AutoModelForImageClassification`).

For architectures that OpenVINO does not run. Preprocessing comes from the manifest, and of a bare folder from its
`preprocessor_config.json` (`variants.vision.hub_processor`).
"""

import threading
import time
from typing import Any

import torch
from transformers import AutoModelForImageClassification

from serve.engines.artifact import Artifact
from serve.engines.base import Floats
from serve.errors import ClientLeft
from variants.errors import EngineError
from variants.vision import hub_processor

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


class TorchClassifier:
    """A classifier in eval mode, on torch's device `device`."""

    platform = "torch"

    def __init__(self, artifact: Artifact, device: str = "cpu") -> None:
        """Raises EngineError where the folder holds no classifier, SourceError where nothing says how its images are
        prepared."""
        manifest = artifact.manifest
        self.executes: str = "f32" if manifest is None else manifest.precision
        if self.executes not in DTYPES:
            raise EngineError(f"{self.executes!r}", field="manifest.precision", mend=", ".join(DTYPES))
        self.dtype, self.device = DTYPES[self.executes], device
        try:
            self.model = AutoModelForImageClassification.from_pretrained(
                artifact.model, dtype=self.dtype, local_files_only=True, use_safetensors=True
            ).eval()
        except (OSError, ValueError) as error:
            mend = "a folder with config.json and model.safetensors"
            raise EngineError(f"no image classifier: {error}", field="--artifact", mend=mend) from None
        self.model.to(device)
        self.gone: threading.Event | None = None
        for module in self.model.modules():
            module.register_forward_pre_hook(self.check_awaited)
        self.computed_ns = 0
        names: dict[int, str] = self.model.config.id2label
        given = None if manifest is None else manifest.labels
        self.labels = given or tuple(names[i] for i in sorted(names))
        prepared = None if manifest is None else manifest.preprocess
        self.preprocess = prepared or hub_processor.read(artifact.model, "--artifact")

    def check_awaited(self, module: torch.nn.Module, arguments: Any) -> None:
        """Before each layer. Raises ClientLeft where the client has gone."""
        if self.gone is not None and self.gone.is_set():
            raise ClientLeft("the client left before its request was computed")

    @torch.inference_mode()
    def predict(self, pixels: Floats, gone: threading.Event | None = None) -> Floats:
        self.gone, began = gone, time.perf_counter_ns()
        # On the CPU, the answer waits for the GPU: only then is its time over.
        logits = self.model(pixel_values=torch.tensor(pixels, dtype=self.dtype, device=self.device)).logits.cpu()
        self.computed_ns += time.perf_counter_ns() - began
        scores: Floats = logits.float().softmax(dim=-1).numpy()
        return scores
