"""Static int8 for text encoders by NNCF: weights and activations in 8 bits, ranges from a task's calibration texts.

Activations of transformers have outlier channels that one range a tensor would ruin, so NNCF's transformer mode is
used: it moves scale into the weights first (SmoothQuant, Xiao et al. 2022, arXiv 2211.10438), then corrects biases.
Weights alone in int8, activations in 8 bits as they come, stay closer to the parent and are slower: docs/decisions.md.
"""

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from variants import tasks
from variants.artifacts.store import Artifact
from variants.methods.base import Job, Made
from variants.methods.embedding.baseline import names
from variants.methods.examples import first
from variants.methods.image_classification.model import IR, read_f32, write_ir
from variants.methods.image_classification.static_int8 import quantized
from variants.recipes.recipe import Quantize
from variants.tasks import Example

if TYPE_CHECKING:
    import numpy as np
    import openvino as ov


def int8(job: Job) -> Made:
    """The parent quantized after training, calibrated on the recipe's texts, each cut to the model's length."""
    model, parent = read_f32(job.parent)
    note = write_quantized(job, model, parent)
    for path in parent.model_path.iterdir():
        if path.name not in IR:
            shutil.copyfile(path, job.out / path.name)
    return Made("int8", "openvino", note, ("openvino", "nncf", "tokenizers"))


def write_quantized(job: Job, model: "ov.Model", parent: Artifact) -> str:
    """Quantize `model`, which takes what `parent`'s tokenizer gives, and write it; a note on what was done."""
    assert isinstance(job.recipe, Quantize)
    calibration = job.recipe.calibration
    assert calibration is not None
    import nncf
    import numpy as np
    from transformers import AutoTokenizer

    task = tasks.get(calibration.task, job.home, job.progress)
    examples = first(task, "calibration", calibration.examples, "recipe.calibration.examples")
    texts = [text for example in examples for text in texts_of(example)]
    tokenizer = AutoTokenizer.from_pretrained(parent.model_path)

    def prepared(text: str) -> "dict[str, np.ndarray]":
        ids = np.asarray([tokenizer(text, truncation=True)["input_ids"]], dtype=np.int64)
        return dict(zip(names(), (ids, np.ones_like(ids)), strict=False))

    with job.progress.step(f"quantizing on {len(texts)} texts"):
        write_ir(quantized(model, texts, prepared, model_type=nncf.ModelType.TRANSFORMER), job.out)
    return f"static int8 from its parent, ranges from {len(texts)} {calibration.task} training texts"


def texts_of(example: Example) -> Iterator[str]:
    inputs = example.input if isinstance(example.input, tuple) else (example.input,)
    return (text for text in inputs if isinstance(text, str))
