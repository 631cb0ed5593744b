"""One cell of the table: an architecture and a method. It is built, its engine is started, and the answers are compared
with transformers."""

import asyncio
import json
import os
import re
import warnings
from pathlib import Path
from typing import Any

import httpx

from loadtest.benchmarks.architectures import answers
from loadtest.benchmarks.architectures.answers import NAME
from loadtest.benchmarks.architectures.methods import RANK, named, plans
from loadtest.benchmarks.architectures.tiny import Architecture
from serve.config.snapshot import LoadedAdapter
from serve.config.stack import Adapters, Engine, OpenVinoEngine, VllmEngine
from serve.engines.adapter_client import load_adapter
from serve.engines.launch import launch
from serve.engines.process import EngineProcess
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import build
from variants.document import Document
from variants.errors import RecipeError, SourceError, UnderstudyError
from variants.recipes.source import Source

EXACT, ROUNDED, INT4, BOXES = 1e-3, 0.1, 0.2, 0.25
"""The most that an answer may differ: OpenVINO in float32, whatever computes in bfloat16 or fewer bits, a text model in
int4, whose activations vLLM rounds to int8 as well (`serve.engines.vllm.int4`), and the boxes of a detector in int8,
whose random weights make much of each rounding (boxes drawn at random are 0.33 apart). A text model in int8 may differ
as much as transformers does from itself (`answers.rounding`), if that is more."""
ADAPTER = f"{NAME}-adapter"


class Cell(Document):
    """`difference` is the largest one from transformers' numbers (log probabilities of the likeliest tokens, scores,
    numbers of an embedding, or sides of boxes), and `tolerance` what it may be; both are None where no weights are left
    that transformers could read. `says` has the words of a refusal or failure."""

    architecture: str
    method: str
    refused: bool = False
    builds: bool
    serves: bool = False
    difference: float | None = None
    tolerance: float | None = None
    says: str | None = None

    @property
    def text(self) -> str:
        """The cell as the table shows it."""
        if self.refused:
            return "refused"
        if not self.serves:
            return "built, not served" if self.builds else "fails"
        if self.difference is None or self.tolerance is None:
            return "served"
        if self.difference > self.tolerance:
            return f"differs: {self.difference:.2g}"
        return f"yes ({self.difference:.1g})"

    @property
    def fails(self) -> bool:
        """Whether it neither works nor is refused by name."""
        return self.text not in ("refused", "served") and not self.text.startswith("yes")


def measure(architecture: Architecture, method: str, source: Path, home: Path) -> Cell:
    """Build, serve and ask one cell, with the store at `home`. What it cannot do is in the cell's words: nothing is
    raised for it."""
    cell: dict[str, Any] = {"architecture": architecture.name, "method": method}
    try:
        built = _built(architecture, method, source, Store(home))
    except (RecipeError, SourceError) as error:
        return Cell(**cell, refused=True, builds=False, says=_line(error))
    except Exception as error:  # a raw exception is a finding of this table too
        return Cell(**cell, builds=False, says=f"{type(error).__name__}: {_line(error)}")
    artifact = built[method]
    try:
        difference = asyncio.run(_difference(built, method, source, home / "logs"))
    except (UnderstudyError, httpx.HTTPError, ValueError) as error:
        return Cell(**cell, builds=True, says=_line(error))
    tolerance = None if difference is None else _tolerance(artifact)
    return Cell(**cell, builds=True, serves=True, difference=difference, tolerance=tolerance)


def _tolerance(artifact: Artifact) -> float:
    manifest = artifact.manifest
    if manifest.format == "openvino" and manifest.precision == "f32":
        return EXACT
    if (manifest.task, manifest.precision) == ("object-detection", "int8"):
        return BOXES
    if (manifest.task, manifest.precision) == ("text-generation", "int8"):
        try:
            return max(ROUNDED, answers.rounding(artifact.model_path))
        except RuntimeError as error:  # GPT-NeoX: compressed-tensors hands float32 to a head of bfloat16
            if "same dtype" not in str(error):
                raise
            return ROUNDED
    return INT4 if manifest.precision == "int4" else ROUNDED


def _built(architecture: Architecture, method: str, source: Path, store: Store) -> dict[str, Artifact]:
    """The artifacts of a method and of its ancestors, by variant, and by the method itself. Errors as for `build`, and
    whatever a method raises."""
    model = architecture.kind.lower()
    order = plans(model, architecture.task, method, Source(uri=str(source), licence="none"))
    artifacts = build(order, store, Catalog(store.home))
    by_variant = {variant: artifact for (_, variant), artifact in artifacts.items()}
    return by_variant | {method: by_variant[named(method)]}


async def _difference(built: dict[str, Artifact], method: str, source: Path, logs: Path) -> float | None:
    """How far the engine's numbers are from transformers' at most; None where there is nothing to compare with.
    EngineError where no engine starts, HTTPError where it refuses."""
    artifact = built[method]
    adapter = artifact.model_path if artifact.manifest.format == "adapter" else None
    served = built["baseline"] if adapter else artifact
    name = f"{artifact.manifest.model}-{artifact.manifest.variant}"
    started = launch(_engine(artifact), served.path, served.manifest, NAME)
    process = EngineProcess(name, started, logs / f"{name}.log")
    await process.start()
    try:
        if adapter:
            await load_adapter(process.url, LoadedAdapter(ADAPTER, str(adapter)), process.headers)
        return _compared(process, served, adapter, method, source)
    finally:
        await process.stop()


def _engine(artifact: Artifact) -> Engine:
    if artifact.manifest.task != "text-generation":
        return OpenVinoEngine(kind="openvino")
    adapters = None
    if artifact.manifest.format == "adapter":
        config = json.loads((artifact.model_path / "adapter_config.json").read_bytes())
        adapters = Adapters(slots=1, rank=RANK, modules=tuple(config["target_modules"]))
    return VllmEngine(kind="vllm", context=128, kv_cache_mib=16, sequences=4, adapters=adapters)


def _compared(
    process: EngineProcess, artifact: Artifact, adapter: Path | None, method: str, source: Path
) -> float | None:
    task = artifact.manifest.task
    if task == "text-generation":
        return answers.of_texts(process, ADAPTER if adapter else NAME, artifact.model_path, adapter)
    if task == "text-classification":
        return answers.of_classes(process, source, artifact)
    if task == "feature-extraction":
        return answers.of_embeddings(process, source)
    if method == "magnitude":  # the zeros are in the OpenVINO model alone
        return None
    if task == "object-detection":
        return answers.of_boxes(process, source)
    return answers.of_pixels(process, source, artifact)


def _line(error: Exception) -> str:
    """An error in one line of 300 characters at most, without this machine's paths and the variant's place in a stack
    file."""
    words = re.sub(r"^models\.\S+\.variants\.[^. ]+\.", "", " ".join(str(error).split()))
    return re.sub(r"/\S*/", "", words)[:300]


def quiet_worker() -> None:
    """In each process of the pool: torch's threads would take the cores from the engines, and libraries' warnings of
    two cells at once are no help."""
    warnings.simplefilter("ignore")
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}
    import torch

    torch.set_num_threads(1)
