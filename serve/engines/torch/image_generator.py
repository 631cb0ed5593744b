"""Text-to-image pipelines of diffusers on torch (`variants.vision.diffusion_pipeline`).

Of a pipeline in dynamic int8, OpenVINO computes the denoiser (`variants.vision.denoiser_ir`).
"""

import threading
import time
from collections.abc import Mapping
from typing import Any

import torch

from serve.engines.artifact import Artifact
from serve.engines.base import Draw, Picture
from serve.errors import ClientLeft
from variants.errors import EngineError
from variants.vision import denoiser_ir, diffusion_pipeline
from variants.vision.diffusion_pipeline import Size

DTYPES = {"f32": "float32", "bf16": "bfloat16"}
INT8 = "int8-dynamic"


class TorchGenerator:
    """A pipeline. Picture `index` of a request is drawn from the seed that is higher by `index`."""

    platform = "torch"

    def __init__(self, artifact: Artifact, threads: int, device: str = "cpu") -> None:
        """Raises EngineError where the precision is none that this engine does on torch's `device`, SourceError where
        the folder holds no pipeline."""
        precision = "f32" if artifact.manifest is None else artifact.manifest.precision
        if precision == INT8 and device != "cpu":
            raise EngineError("OpenVINO computes int8 on the CPU", field="engine.resources.gpus", mend="leave it out")
        if precision == INT8:
            self.pipeline = denoiser_ir.read(artifact.model, "--artifact", threads)
        elif precision in DTYPES:
            self.pipeline = diffusion_pipeline.read(artifact.model, DTYPES[precision], "--artifact").to(device)
        else:
            raise EngineError(f"{precision!r}", field="manifest.precision", mend=", ".join((*DTYPES, INT8)))
        self.executes: str = "f32" if precision == INT8 else precision
        self.parameters: Mapping[str, Any] = {
            "size": str(diffusion_pipeline.largest(self.pipeline)),
            "multiple_of": diffusion_pipeline.grain(self.pipeline),
            "most_steps": diffusion_pipeline.MOST_STEPS,
        }
        self.passes = self.computed_ns = 0
        self.gone: threading.Event | None = None
        for part in self.pipeline.components.values():
            for module in part.modules() if isinstance(part, torch.nn.Module) else ():
                module.register_forward_pre_hook(self.check_awaited)
        _, denoiser = diffusion_pipeline.denoiser_of(self.pipeline)
        denoiser.register_forward_hook(self.count_pass)

    def check_awaited(self, module: torch.nn.Module, arguments: Any) -> None:
        """Before each layer. Raises ClientLeft where the client has gone."""
        if self.gone is not None and self.gone.is_set():
            raise ClientLeft("the client left before its picture was drawn")

    def count_pass(self, module: torch.nn.Module, arguments: Any, output: Any) -> None:
        self.passes += 1

    def drawing(self, prompt: str, size: str | None, steps: int | None) -> Draw:
        wanted = diffusion_pipeline.size_of(self.pipeline, size)
        diffusion_pipeline.check_prompt(self.pipeline, prompt)

        def drawn(seed: int, index: int, gone: threading.Event | None = None) -> Picture:
            return self.draw(prompt, seed + index, wanted, steps, gone)

        return drawn

    def draw(
        self, prompt: str, seed: int, size: Size, steps: int | None = None, gone: threading.Event | None = None
    ) -> Picture:
        """uint8 [height, width, 3]. Raises EngineError where the pipeline computes values that are not finite."""
        self.gone, began = gone, time.perf_counter_ns()
        picture = diffusion_pipeline.draw(self.pipeline, prompt, seed, size, steps)
        self.computed_ns += time.perf_counter_ns() - began
        if not torch.isfinite(torch.from_numpy(picture)).all():
            raise EngineError("the pipeline computes values that are not finite", mend="serve it in float32")
        return diffusion_pipeline.pixels(picture)
