"""Static int8 for text encoders by NNCF: weights and activations in 8 bits, ranges from a task's calibration texts.

Activations of transformers have outlier channels that one range a tensor would ruin, so NNCF's transformer mode is
used: it moves scale into the weights first (SmoothQuant, Xiao et al. 2022, arXiv 2211.10438), then corrects biases.
Weights alone in int8, activations in 8 bits as they come, stay closer to the parent and are slower: docs/decisions.md.
"""

import shutil
from typing import TYPE_CHECKING

from variants.methods.base import BuildJob, MethodResult
from variants.methods.openvino_ir import IR, read_f32
from variants.methods.text_encoder import write_quantized

if TYPE_CHECKING:
    pass


def int8(job: BuildJob) -> MethodResult:
    """The parent quantized after training, calibrated on the recipe's texts, each cut to the model's length."""
    model, parent = read_f32(job.parent)
    note = write_quantized(job, model, parent)
    for path in parent.model_path.iterdir():
        if path.name not in IR:
            shutil.copyfile(path, job.out / path.name)
    return MethodResult("int8", "openvino", note, ("openvino", "nncf", "tokenizers"))
