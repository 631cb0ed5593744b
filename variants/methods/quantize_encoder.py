"""Static int8 for text encoders by NNCF: 8-bit weights and activations, with ranges from calibration texts.

Activations of transformers have outlier channels, which ruin one range per tensor. So NNCF's transformer mode is used:
it moves scale into the weights first (SmoothQuant, Xiao et al. 2022, arXiv 2211.10438), then corrects biases.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import calibration_examples
from variants.methods.nncf_quantize import quantized_within
from variants.methods.openvino_ir import read_f32, write_variant
from variants.methods.text_encoder import encoded, texts_of
from variants.recipes.recipe import Quantize

if TYPE_CHECKING:
    import numpy as np


def int8(job: BuildJob[Quantize]) -> MethodResult:
    """The parent with weights and activations in 8 bits, calibrated on the recipe's texts, each cut to the model's
    length."""
    import nncf
    from transformers import AutoTokenizer

    model, parent = read_f32(job.parent)
    task, examples = calibration_examples(job, job.recipe.calibration)
    texts = [text for example in examples for text in texts_of(example)]
    tokenizer = AutoTokenizer.from_pretrained(parent.model_path)

    def prepare(text: str) -> "dict[str, np.ndarray]":
        return encoded(tokenizer, text)

    with job.progress.step(f"quantizing on {len(texts)} texts"):
        int8_model, kept = quantized_within(job, model, texts, prepare, model_type=nncf.ModelType.TRANSFORMER)
        note = f"static int8 from its parent, ranges from {len(texts)} {task.name} training texts"
        return replace(write_variant(job, int8_model, "int8", note, "nncf", "tokenizers"), kept=kept)
