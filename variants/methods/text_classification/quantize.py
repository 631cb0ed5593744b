"""Fewer bits for text classifiers in OpenVINO: static int8, dynamic int8, bfloat16. All start from the parent's IR.

**Static int8** is `embedder_int8`'s: ranges of activations from calibration texts, everything between in 8 bits.
**Dynamic int8** needs no texts: weights in 8 bits, one scale a row, by NNCF; each token's activations are brought to 8
bits as they come, by the engine, which is told to by the precision that the manifest names (OpenVINO's dynamic
quantization: a CPU needs VNNI for it, and one without computes in float32). It stays closer to the parent than static
int8, and what is not a linear layer's product, attention itself among it, stays in float32: it is less fast.
torch's own dynamic quantization was no choice: it is deprecated, and torch is slower here before any of it.
**bfloat16** halves the bytes; it is faster where a CPU multiplies bfloat16 (AVX512-BF16, AMX), and OpenVINO computes in
float32 where it does not.
"""

import logging
import shutil
from pathlib import Path

from variants.artifacts.store import Artifact
from variants.methods.base import BuildJob, MethodResult
from variants.methods.openvino_bf16 import store_bf16
from variants.methods.openvino_ir import IR, read_f32, write_ir
from variants.methods.text_encoder import SETTINGS, TOKENIZER, write_quantized

SERVED = (*IR, TOKENIZER, SETTINGS)


def int8(job: BuildJob) -> MethodResult:
    """The parent with weights and activations in 8 bits, calibrated on the recipe's texts."""
    model, parent = read_f32(job.parent)
    note = write_quantized(job, model, parent)
    return _made(job.out, parent, MethodResult("int8", "openvino", note, ("openvino", "nncf", "tokenizers")))


def int8_dynamic(job: BuildJob) -> MethodResult:
    """The parent with its weights in 8 bits, embeddings included; activations are the engine's."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    model, parent = read_f32(job.parent)
    with job.progress.step("bringing weights to 8 bits"):
        write_ir(nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM), job.out)
    note = "its parent's weights in 8 bits, a scale a row; activations brought to 8 bits as they come"
    return _made(job.out, parent, MethodResult("int8-dynamic", "openvino", note, ("openvino", "nncf")))


def bf16(job: BuildJob) -> MethodResult:
    """The parent with constants in bfloat16; half the bytes, executed in bfloat16."""
    model, parent = read_f32(job.parent)
    with job.progress.step("storing constants as bfloat16"):
        store_bf16(model)
        write_ir(model, job.out)
    return _made(
        job.out, parent, MethodResult("bf16", "openvino", "its parent's weights rounded to bfloat16", ("openvino",))
    )


def _made(out: Path, parent: Artifact, made: MethodResult) -> MethodResult:
    """What was made, with its parent's tokenizer beside it and its parent's labels."""
    for name in (TOKENIZER, SETTINGS):
        shutil.copyfile(parent.model_path / name, out / name)
    return MethodResult(made.precision, made.format, made.note, made.packages, parent.manifest.labels, served=SERVED)
