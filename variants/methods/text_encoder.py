"""Encoders of text as OpenVINO IR: their tokenizers' settings, pooling, and inputs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from variants import tasks
from variants.artifacts.store import Artifact
from variants.errors import SourceError
from variants.methods.base import BuildJob
from variants.methods.examples import first
from variants.methods.nncf_quantize import quantized
from variants.methods.openvino_ir import write_ir
from variants.recipes.recipe import Quantize
from variants.tasks import Example

if TYPE_CHECKING:
    import numpy as np
    import openvino as ov
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


TOKENIZER = "tokenizer.json"
SETTINGS = "tokenizer_config.json"
"""Carries `model_max_length`, the most tokens of one text."""
Pooling = Literal["mean", "cls"]


def most_tokens(tokenizer: "PreTrainedTokenizerBase", model: "PreTrainedModel", folder: Path) -> int:
    """The most tokens of one text that tokenizer, positions and training allow."""
    trained = read_settings(folder / "sentence_bert_config.json").get("max_seq_length")
    lengths = (tokenizer.model_max_length, model.config.max_position_embeddings, trained)
    return min(length for length in lengths if length)


def pooling_of(folder: Path) -> Pooling:
    """The one pooling that a sentence-transformers folder names, else the mean. SourceError for other poolings."""
    settings = read_settings(folder / "1_Pooling" / "config.json")
    named = {name for name, on in settings.items() if name.startswith("pooling_mode_") and on is True}
    if named <= {"pooling_mode_mean_tokens"}:
        return "mean"
    if named == {"pooling_mode_cls_token"}:
        return "cls"
    raise SourceError(f"{folder} pools by {', '.join(sorted(named))}", field="source.uri", mend="mean or cls alone")


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is no file. SourceError where it is something else."""
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise SourceError(f"{path} is not readable: {error}", field="source.uri") from error


def write_encoder(module: "nn.Module", output: str, out: Path) -> None:
    """Write a module of token ids and their mask as IR below `out`; what it gives is called `output`."""
    import warnings

    import openvino as ov
    import torch

    ids = torch.ones(2, 7, dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0  # an example without padding would be traced as a model that never sees any
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # of branches that batch and length do not decide
        converted = ov.convert_model(
            module,
            example_input=(ids, mask),
            input=[([-1, -1], ov.Type.i64), ([-1, -1], ov.Type.i64)],
        )
    for tensor, name in zip((*converted.inputs, converted.outputs[0]), (*names()[:2], output), strict=True):
        tensor.get_tensor().set_names({name})
    write_ir(converted, out)


def names() -> tuple[str, str, str]:
    return "input_ids", "attention_mask", "embedding"


def write_quantized(job: BuildJob, model: "ov.Model", parent: Artifact) -> str:
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
