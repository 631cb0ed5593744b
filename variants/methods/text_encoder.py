"""Text encoders as OpenVINO IR, for embeddings and for classifiers: their tokenizers' settings, their pooling, the
export to IR, and static int8.

**Static int8** by NNCF: weights and activations in 8 bits, with ranges from a task's calibration texts. Activations of
transformers have outlier channels, which ruin one range per tensor. So NNCF's transformer mode is used: it moves scale
into the weights first (SmoothQuant, Xiao et al. 2022, arXiv 2211.10438), then corrects biases.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from variants.errors import SourceError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import calibration_examples
from variants.methods.nncf_quantize import quantized
from variants.methods.openvino_ir import TOKENIZER, read_f32, write_ir, write_variant
from variants.recipes.recipe import Quantize
from variants.tasks import Example

if TYPE_CHECKING:
    import numpy as np
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


INPUTS = ("input_ids", "attention_mask")
Pooling = Literal["mean", "cls"]


def int8(job: BuildJob[Quantize]) -> MethodResult:
    """The parent with weights and activations in 8 bits, calibrated on the recipe's texts, each cut to the model's
    length."""
    import nncf
    import numpy as np
    from transformers import AutoTokenizer

    model, parent = read_f32(job.parent)
    task, examples = calibration_examples(job, job.recipe.calibration)
    texts = [text for example in examples for text in texts_of(example)]
    tokenizer = AutoTokenizer.from_pretrained(parent.model_path)

    def prepare(text: str) -> "dict[str, np.ndarray]":
        ids = np.asarray([tokenizer(text, truncation=True)["input_ids"]], dtype=np.int64)
        return dict(zip(INPUTS, (ids, np.ones_like(ids)), strict=True))

    with job.progress.step(f"quantizing on {len(texts)} texts"):
        int8_model = quantized(model, texts, prepare, model_type=nncf.ModelType.TRANSFORMER)
        note = f"static int8 from its parent, ranges from {len(texts)} {task.name} training texts"
        return write_variant(job, int8_model, "int8", note, "nncf", "tokenizers")


def texts_of(example: Example) -> Iterator[str]:
    """The texts of an example's input: none where it is an image."""
    inputs = example.input if isinstance(example.input, tuple) else (example.input,)
    return (text for text in inputs if isinstance(text, str))


def most_tokens(tokenizer: "PreTrainedTokenizerBase", model: "PreTrainedModel", folder: Path) -> int:
    """The most tokens of one text that tokenizer, positions and training allow."""
    trained = _read_settings(folder / "sentence_bert_config.json").get("max_seq_length")
    lengths = (tokenizer.model_max_length, model.config.max_position_embeddings, trained)
    return min(length for length in lengths if length)


def pooling_of(folder: Path) -> Pooling:
    """The pooling that a sentence-transformers folder names, else the mean. SourceError for any other pooling."""
    settings = _read_settings(folder / "1_Pooling" / "config.json")
    named = {name for name, on in settings.items() if name.startswith("pooling_mode_") and on is True}
    if named <= {"pooling_mode_mean_tokens"}:
        return "mean"
    if named == {"pooling_mode_cls_token"}:
        return "cls"
    raise SourceError(f"{folder} pools by {', '.join(sorted(named))}", field="source.uri", mend="mean or cls alone")


def _read_settings(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is no file. SourceError where it is something else."""
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise SourceError(f"{path} is not readable: {error}", field="source.uri") from error


def write_encoder(module: "nn.Module", output: str, tokenizer: "PreTrainedTokenizerBase", out: Path) -> None:
    """Write a module of token ids and their mask (int64 [batch, length]) as IR below `out`, with its tokenizer.
    `output` is the name of the IR's output. SourceError where the tokenizer has no `tokenizer.json` form."""
    import warnings

    import openvino as ov
    import torch

    ids = torch.ones(2, 7, dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0  # traced on an example without padding, the model would ignore the mask
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # about branches that do not depend on the input
        converted = ov.convert_model(
            module,
            example_input=(ids, mask),
            input=[([-1, -1], ov.Type.i64), ([-1, -1], ov.Type.i64)],
        )
    write_ir(converted, out, (*INPUTS, output))
    tokenizer.save_pretrained(out)
    if not (out / TOKENIZER).is_file():
        raise SourceError(f"its tokenizer has no {TOKENIZER} form", field="source.uri")
