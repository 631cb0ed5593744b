"""What a model of each OpenVINO family answers on calibration examples, and how far a variant falls behind its parent.

| family | answer | score where the examples have labels that the model knows | score without |
|---|---|---|---|
| classifiers | the first label | accuracy | the share that the parent answers alike |
| image generation | the digit that the classifier reads | accuracy | |
| detection | boxes | F1 | agreement: F1 against the parent's boxes |
| embeddings | a vector | | the cosine to the parent's |

Both models get the same examples, in the precision that the engine executes.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from variants.artifacts.loss import Loss, Measure
from variants.artifacts.manifest import TaskKind
from variants.artifacts.store import Artifact
from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import gauge_examples
from variants.methods.openvino_ir import IR
from variants.tasks import Example, Prompt, Task
from variants.vision import letterbox, preprocess
from variants.vision.boxes import agreement, from_text
from variants.vision.diffusion_sampler import Sampler

if TYPE_CHECKING:
    import numpy as np
    import openvino as ov

Run = Callable[[Any], "np.ndarray"]
"""The passes of a compiled model: inputs, by name or in order, to its one output."""

_MOST = 100
"""Examples that are measured on."""
_EXECUTES = {"bf16": "bf16", "int8": "bf16"}
"""As the engine: what int8 leaves is executed in bf16."""
_GROUP = 32


@dataclass(frozen=True)
class Gauge:
    """`answers` gives one answer an example, and `score` compares it with a wanted one, 0 to 1. `labels` are the wanted
    answers; without them, those of the parent are."""

    measure: Measure
    task: str
    examples: int
    answers: Callable[[Run], list[Any]]
    score: Callable[[Any, Any], float]
    labels: list[Any] | None = None

    def figure(self, run: Run, wanted: Sequence[Any]) -> float:
        """The mean score, 0 to 1, of a model."""
        return fmean(map(self.score, self.answers(run), wanted))

    def of_parent(self, run: Run) -> tuple[list[Any], float]:
        """What every variant is compared with, and the parent's own figure."""
        answers = self.answers(run)
        wanted = answers if self.labels is None else self.labels
        return wanted, fmean(map(self.score, answers, wanted))


def loss_of(task: TaskKind, job: BuildJob, made: MethodResult) -> Loss | None:
    """What the IR below the job's `out` lost of its parent; None where no task with calibration examples is named."""
    gauge = gauge_of(task, job)
    if gauge is None or job.parent is None:
        return None
    with job.progress.step(f"measuring what it lost on {gauge.examples} examples"):
        wanted, parent = gauge.of_parent(runner(job.parent.model_path / IR[0], job.parent.manifest.precision))
        variant = gauge.figure(runner(job.out / IR[0], made.precision), wanted)
    return Loss(
        measure=gauge.measure, task=gauge.task, examples=gauge.examples, parent=parent, variant=variant, kept=made.kept
    )


def runner(model: Any, precision: str) -> Run:
    """A model (a path or an `ov.Model`) on this CPU, compiled as the engine does. It gives its one output."""
    import openvino as ov

    # One thread: small models are hardly faster on two, and on a busy machine the two wait for each other.
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _EXECUTES.get(precision, "f32"),
        "INFERENCE_NUM_THREADS": 1,
    }
    if precision in ("int8-dynamic", "int4"):
        settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = _GROUP
    return run_of(ov.Core().compile_model(model, "CPU", settings))


def run_of(compiled: "ov.CompiledModel") -> Run:
    """A request to a compiled model."""
    import numpy as np

    request = compiled.create_infer_request()
    return lambda inputs: np.array(request.infer(inputs)[0])


def gauge_of(family: TaskKind, job: BuildJob) -> Gauge | None:
    """How a variant of the job's parent is measured; None where no task is named that has calibration examples."""
    if family not in _GAUGES or job.parent is None:
        return None
    kinds, gauge = _GAUGES[family]
    chosen = gauge_examples(job, kinds, _MOST)
    return gauge(job, job.parent, *chosen) if chosen else None


def _known_labels(parent: Artifact, examples: Iterable[Example]) -> list[str] | None:
    """The examples' labels, or None where the model does not know one of them."""
    labels = [example.label for example in examples]
    return labels if set(labels) <= set(parent.manifest.labels or ()) else None


def _classes(task: Task, parent: Artifact, inputs: list[Any], examples: Sequence[Example]) -> Gauge:
    names = parent.manifest.labels or ()
    labels = _known_labels(parent, examples) if len(inputs) == len(examples) else None
    return Gauge(
        "agreement" if labels is None else "accuracy", task.name, len(inputs),
        lambda run: [names[int(run(each).argmax())] for each in inputs], lambda a, b: float(a == b), labels,
    )  # fmt: skip


def _image_classes(job: BuildJob, parent: Artifact, task: Task, examples: list[Example]) -> Gauge:
    described = parent.manifest.preprocess
    assert described is not None
    images = [example.input for example in examples if isinstance(example.input, bytes)]
    inputs = [[preprocess.pixels_of(image, described)[None]] for image in images]
    return _classes(task, parent, inputs, examples)


def _text_classes(job: BuildJob, parent: Artifact, task: Task, examples: list[Example]) -> Gauge:
    return _classes(task, parent, _tokens(parent, examples), examples)


def _embeddings(job: BuildJob, parent: Artifact, task: Task, examples: list[Example]) -> Gauge:
    inputs = _tokens(parent, examples)
    return Gauge("cosine", task.name, len(inputs), lambda run: [run(each)[0] for each in inputs], _dot)


def _dot(one: Any, other: Any) -> float:
    """The cosine: embeddings have length 1."""
    return float(one @ other)


def _tokens(parent: Artifact, examples: Iterable[Example]) -> "list[dict[str, np.ndarray]]":
    """An encoder's inputs for each text of the examples."""
    from transformers import AutoTokenizer

    from variants.methods.text_encoder import encoded, texts_of

    tokenizer = AutoTokenizer.from_pretrained(parent.model_path)
    return [encoded(tokenizer, text) for example in examples for text in texts_of(example)]


def _boxes(job: BuildJob, parent: Artifact, task: Task, examples: list[Example]) -> Gauge:
    from variants.vision.box_decoder import boxes_of

    detector, labels = parent.manifest.detector, parent.manifest.labels
    assert detector is not None
    assert labels is not None
    images = [example.input for example in examples if isinstance(example.input, bytes)]
    inputs = [letterbox.pixels_of(image, detector) for image in images]
    wanted = [from_text(example.label) for example in examples] if task.kind == "boxes" else None
    if wanted is not None and not {box.label for boxes in wanted for box in boxes} <= set(labels):
        wanted = None
    return Gauge(
        "agreement" if wanted is None else "F1", task.name, len(inputs),
        lambda run: [boxes_of(run([pixels[None]]), detector, labels, scale, size) for pixels, scale, size in inputs],
        agreement, wanted,
    )  # fmt: skip


def _drawings(job: BuildJob, parent: Artifact, task: Task, examples: list[Example]) -> Gauge:
    from PIL import Image

    from variants.tasks.digit_classifier.store import load_or_train

    classifier, sampler = load_or_train(job.home, job.progress), Sampler.of_folder(parent.model_path)

    def png(run: Run, example: Example) -> bytes:
        assert isinstance(example.input, Prompt)
        drawn = sampler.draw(denoiser(run), task.labels.index(example.label), example.input.seed)
        Image.fromarray(drawn).save(file := io.BytesIO(), "PNG")
        return file.getvalue()

    def answers(run: Run) -> list[str]:
        return classifier.read_all([png(run, example) for example in examples])

    labels = [example.label for example in examples]
    return Gauge("accuracy", task.name, len(examples), answers, lambda a, b: float(a == b), labels)


def denoiser(run: Run) -> "Callable[[np.ndarray, int, int], np.ndarray]":
    """A compiled UNet as the sampler calls it."""
    import numpy as np

    from variants.methods.image_generation.unet import INPUTS

    def velocity(sample: "np.ndarray", timestep: int, label: int) -> "np.ndarray":
        values = (sample, np.array([timestep], np.float32), np.array([label], np.int64))
        return run(dict(zip(INPUTS, values, strict=True)))

    return velocity


_TEXTS = ("article", "choice", "pair", "passage", "text", "triplet")
_GAUGES: dict[str, tuple[tuple[str, ...], Callable[[BuildJob, Artifact, Task, list[Example]], Gauge]]] = {
    "image-classification": (("image", "ranked"), _image_classes),
    "text-classification": (_TEXTS, _text_classes),
    "feature-extraction": (_TEXTS, _embeddings),
    "object-detection": (("boxes", "image", "ranked"), _boxes),
    "image-generation": (("drawing",), _drawings),
}
