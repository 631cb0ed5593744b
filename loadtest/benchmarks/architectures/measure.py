"""One cell of the table: an architecture and a method. It is built, its engine is started, and the answers are compared
with transformers."""

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from loadtest.benchmarks.architectures.tiny import SIDE, Architecture
from serve.config.stack import Engine, OpenVinoEngine, VllmEngine
from serve.engines.launch import launch
from serve.engines.process import EngineProcess
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.document import Document
from variants.errors import UnderstudyError
from variants.recipes.recipe import Baseline, Calibration, Prune, Quantize, Recipe, Sparsify
from variants.recipes.source import Source

NAME = "tiny@variant"
TEXTS = ("a", "The river rose in the night.")
EXACT, ROUNDED = 1e-3, 0.1
"""The most that an answer may differ: OpenVINO in float32, and whatever computes in bfloat16 or fewer bits."""
_SEEN = Calibration(task="rotten_tomatoes", examples=8)
_ARTICLES = Calibration(task="r8_topics", examples=8)
_DIGITS = Calibration(task="mnist", examples=8)
_BASELINE = Baseline(dtype="float32")
_IR: dict[str, Recipe] = {
    "baseline": _BASELINE,
    "bf16": Quantize(scheme="bf16"),
    "int8-dynamic": Quantize(scheme="int8-dynamic"),
}
METHODS: dict[str, dict[str, Recipe]] = {
    "text-generation": {
        "baseline": _BASELINE,
        "fp16": Quantize(scheme="fp16"),
        "w8a8": Quantize(scheme="w8a8"),
        "w4a16": Quantize(scheme="w4a16", group_size=64),
        "nf4": Quantize(scheme="nf4"),
        "llm-int8": Quantize(scheme="llm-int8"),
        "magnitude": Sparsify(algorithm="magnitude", sparsity=0.5),
        "layers": Prune(structure="layers", drop_layers=1, calibration=_SEEN),
        "width": Prune(structure="layers", width=0.5, calibration=_SEEN),
    },
    "text-classification": _IR | {"int8": Quantize(scheme="int8", calibration=_ARTICLES)},
    "feature-extraction": {
        "baseline": _BASELINE,
        "int8": Quantize(scheme="int8", calibration=Calibration(task="r8", examples=8)),
    },
    "image-classification": _IR | {"int8": Quantize(scheme="int8", calibration=_DIGITS)},
}
"""The methods of each task that need no training."""


class Cell(Document):
    """`difference` is the largest one from transformers' numbers (log probabilities of the likeliest tokens, scores, or
    numbers of an embedding), and `tolerance` what it may be. `says` has the words of a refusal or failure."""

    architecture: str
    method: str
    builds: bool
    serves: bool = False
    difference: float | None = None
    tolerance: float | None = None
    says: str | None = None

    @property
    def text(self) -> str:
        """The cell as the table shows it."""
        if self.difference is None or self.tolerance is None:
            return "built, not served" if self.builds else "refused"
        return (
            f"yes ({self.difference:.1g})" if self.difference <= self.tolerance else f"differs: {self.difference:.2g}"
        )


def measure(architecture: Architecture, method: str, source: Path, store: Store) -> Cell:
    """Build, serve and ask one cell. What it cannot do is in the cell's words: nothing is raised for it."""
    named: dict[str, Any] = {"architecture": architecture.name, "method": method}
    try:
        artifact = _built(architecture, method, source, store)
    except Exception as error:  # a raw exception is a finding of this table too
        kind = "" if isinstance(error, UnderstudyError) else f"{type(error).__name__}: "
        return Cell(**named, builds=False, says=kind + _line(error))
    exact = artifact.manifest.precision == "f32" and artifact.manifest.format == "openvino" and method == "baseline"
    try:
        difference = asyncio.run(_difference(artifact, source, store.home / "logs"))
    except (UnderstudyError, httpx.HTTPError) as error:
        return Cell(**named, builds=True, says=_line(error))
    tolerance = EXACT if exact else ROUNDED
    return Cell(**named, builds=True, serves=True, difference=difference, tolerance=tolerance)


def _built(architecture: Architecture, method: str, source: Path, store: Store) -> Artifact:
    """The artifact of a method, and before it that of the baseline. Errors as for `build`, and whatever a method
    raises."""
    model = architecture.kind.lower()
    licensed = Source(uri=str(source), licence="none")
    wanted = {"baseline": None} | ({method: "baseline"} if method != "baseline" else {})
    plans = [
        VariantPlan(model, name, architecture.task, licensed, METHODS[architecture.task][name], parent)
        for name, parent in wanted.items()
    ]
    return build(plans, store, Catalog(store.home))[model, method]


async def _difference(artifact: Artifact, source: Path, logs: Path) -> float:
    """How far the engine's numbers are from transformers' at most. EngineError where no engine starts, HTTPError where
    it refuses."""
    task = artifact.manifest.task
    engine: Engine = OpenVinoEngine(kind="openvino")
    if task == "text-generation":
        engine = VllmEngine(kind="vllm", context=128, kv_cache_mib=16, sequences=4)
    name = f"{artifact.manifest.model}-{artifact.manifest.variant}"
    process = EngineProcess(name, launch(engine, artifact.path, artifact.manifest, NAME), logs / f"{name}.log")
    await process.start()
    try:
        if task == "text-generation":
            return _of_texts(process, artifact.model_path)
        if task == "image-classification":
            return _of_pixels(process, source)
        return _of_encoder(process, source, task)
    finally:
        await process.stop()


def _of_texts(engine: EngineProcess, folder: Path) -> float:
    """Log probabilities of the likeliest next tokens, against transformers on the same artifact."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    worst = 0.0
    for text in TEXTS:
        asked = {"prompt": text, "max_tokens": 1, "temperature": 0, "logprobs": 5, "return_tokens_as_token_ids": True}
        likeliest = _posted(engine, "/v1/completions", {"model": NAME, **asked})["choices"][0]["logprobs"][
            "top_logprobs"
        ]
        with torch.no_grad():
            logits = model(tokenizer(text, return_tensors="pt")["input_ids"]).logits[0, -1]
        wanted = logits.float().log_softmax(-1)
        given = {int(token.removeprefix("token_id:")): value for token, value in likeliest[0].items()}
        worst = max(worst, *(abs(value - float(wanted[token])) for token, value in given.items()))
    return worst


def _of_encoder(engine: EngineProcess, source: Path, task: str) -> float:
    """Scores of classes, or embeddings by the mean, against transformers on the source, a text at a time."""
    import torch
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source)
    kind: Any = AutoModel if task == "feature-extraction" else AutoModelForSequenceClassification
    model = kind.from_pretrained(source).eval()
    rows = []
    for text in TEXTS:
        with torch.no_grad():
            output = model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False))
        if task == "feature-extraction":
            rows.append(torch.nn.functional.normalize(output.last_hidden_state[0].mean(0), dim=0))
        else:
            rows.append(output.logits[0].softmax(0))
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(TEXTS)], "data": list(TEXTS)}
    return _apart(engine, tensor, torch.stack(rows))


def _of_pixels(engine: EngineProcess, source: Path) -> float:
    """Scores of classes of one picture, given as pixels, against transformers on the source."""
    import torch
    from transformers import AutoModelForImageClassification

    pixels = torch.linspace(-1, 1, 3 * SIDE * SIDE).reshape(1, 3, SIDE, SIDE)
    model: Any = AutoModelForImageClassification.from_pretrained(source).eval()
    with torch.no_grad():
        wanted = model(pixels).logits.softmax(1)
    tensor = {"name": "pixels", "datatype": "FP32", "shape": list(pixels.shape), "data": pixels.flatten().tolist()}
    return _apart(engine, tensor, wanted)


def _apart(engine: EngineProcess, tensor: dict[str, Any], wanted: Any) -> float:
    """The largest difference of the model's first output from `wanted`, float32 [rows, numbers]."""
    output = _posted(engine, f"/v2/models/{NAME}/infer", {"inputs": [tensor]})["outputs"][0]
    return float(np.abs(np.asarray(output["data"]).reshape(wanted.shape) - wanted.numpy()).max())


def _posted(engine: EngineProcess, path: str, body: dict[str, Any]) -> Any:
    """The JSON of an answer. HTTPError for any status but 200."""
    answer = httpx.post(engine.url + path, json=body, headers=engine.headers, timeout=300)
    answer.raise_for_status()
    return answer.json()


def _line(error: Exception) -> str:
    """An error in one line of 300 characters at most, without this machine's paths."""
    words = " ".join(str(error).split())
    return re.sub(r"/\S*/", "", words)[:300]
