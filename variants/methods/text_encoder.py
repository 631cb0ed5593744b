"""Text encoders as OpenVINO IR, for embeddings and classifiers: their tokenizers' settings, and the export to IR."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import TypeAdapter

from variants.errors import SourceError
from variants.methods.openvino_ir import IR, SETTINGS, TOKENIZER, write_ir
from variants.methods.sentence_modules import read_json
from variants.methods.training import padded
from variants.tasks import Example

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


INPUTS = ("input_ids", "attention_mask")
_TEXTS = ("a", "The river rose in the night.", "By morning the bridge at the old mill was under water, all of it.")
_TOLERANCE = 1e-3  # of the largest number: float32 in another order of sums differs by less than a tenth of it
_UNSET = 10**9  # transformers writes 10^30 where a tokenizer names no length


def encoded(tokenizer: "PreTrainedTokenizerBase", text: str) -> "dict[str, np.ndarray]":
    """The model's inputs for one text, cut to the model's length: int64 [1, tokens] each."""
    import numpy as np

    ids = np.asarray([tokenizer(text, truncation=True)["input_ids"]], dtype=np.int64)
    return dict(zip(INPUTS, (ids, np.ones_like(ids)), strict=True))


def texts_of(example: Example) -> Iterator[str]:
    """The texts of an example's input: none where it is an image."""
    inputs = example.input if isinstance(example.input, tuple) else (example.input,)
    return (text for text in inputs if isinstance(text, str))


def most_tokens(tokenizer: "PreTrainedTokenizerBase", model: "PreTrainedModel", folder: Path) -> int:
    """The most tokens of one text that tokenizer, positions and training allow. SourceError where none names a
    length: a text of any length would be computed."""
    trained = _training_settings(folder).get("max_seq_length")
    positions = getattr(model.config, "max_position_embeddings", None)
    lengths = [tokenizer.model_max_length, positions, trained, *_counted_positions(model)]
    named = [int(length) for length in lengths if isinstance(length, int | float) and 0 < length < _UNSET]
    if not named:
        mend = f"model_max_length in its {SETTINGS}"
        raise SourceError(f"{folder} names no longest text", field="source.uri", mend=mend)
    return min(named)


def _counted_positions(model: "PreTrainedModel") -> "Iterator[int]":
    """The lengths that position tables have room for, where the first positions are kept for padding (RoBERTa: 512 of
    514)."""
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.rpartition(".")[2] == "position_embeddings" and padding is not None:
            yield len(cast(Any, module).weight) - padding - 1


def lower_cased(tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Make the tokenizer write texts in lower case first, in place, where a sentence-transformers folder says so."""
    if _training_settings(folder).get("do_lower_case") is not True:
        return
    from tokenizers.normalizers import Lowercase, Sequence

    backend = cast(Any, tokenizer).backend_tokenizer
    backend.normalizer = Sequence([Lowercase(), *([backend.normalizer] if backend.normalizer else [])])


def _training_settings(folder: Path) -> dict[str, Any]:
    """sentence-transformers' settings of the encoder; their file is named after the kind of model."""
    files = sorted(folder.glob("sentence_*_config.json"))
    return read_json(files[0], TypeAdapter(dict[str, Any])) if files else {}


def write_encoder(module: "nn.Module", output: str, tokenizer: "PreTrainedTokenizerBase", out: Path) -> None:
    """Write a module of token ids and their mask (int64 [batch, length]) as IR below `out`, with its tokenizer.
    `output` is the name of the IR's output, float32 [batch, width].

    SourceError where OpenVINO cannot convert the module, or computes another result than the module does for texts
    alone: each text is asked in a padded batch, as the engine asks. Also where the tokenizer has no `tokenizer.json`
    form."""
    import warnings

    import openvino as ov
    import torch

    # Traced on an example without padding, the model would ignore the mask.
    ids, mask = _padded(_tokens_of(tokenizer, _TEXTS[:2]))
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # about branches that do not depend on the input
            converted = ov.convert_model(
                module,
                example_input=(ids, mask),
                input=[([-1, -1], ov.Type.i64), ([-1, -1], ov.Type.i64)],
            )
    except Exception as error:  # whatever a model's own code raises on an example
        reason = str(error).strip().partition("\n")[0]
        message = f"OpenVINO cannot convert it: {type(error).__name__}: {reason}"
        raise SourceError(message, field="source.uri", mend="another architecture") from error
    write_ir(converted, out, (*INPUTS, output))
    _check_written(module, out, tokenizer)
    tokenizer.save_pretrained(out)
    if not (out / TOKENIZER).is_file():
        raise SourceError(f"its tokenizer has no {TOKENIZER} form", field="source.uri")


def _check_written(module: "nn.Module", out: Path, tokenizer: "PreTrainedTokenizerBase") -> None:
    """SourceError where a padded batch in OpenVINO differs from the module's result for each text alone."""
    import numpy as np
    import openvino as ov
    import torch

    end = tokenizer.eos_token or tokenizer.sep_token
    texts = _tokens_of(tokenizer, [*_TEXTS, *([f"a {end} b"] if end else [])])
    ids, mask = _padded([*texts, [0] * min(-(-max(map(len, texts)) // 8) * 8, tokenizer.model_max_length)])
    compiled = ov.Core().compile_model(out / IR[0], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    with torch.no_grad():
        wanted = np.concatenate([module(*_padded([each])).numpy() for each in texts])
    written = compiled((ids.numpy(), mask.numpy()))[0][: len(texts)]
    apart = float(np.abs(written - wanted).max())
    if not apart <= _TOLERANCE * max(1.0, float(np.abs(wanted).max())):
        message = f"a padded text differs from the text alone by {apart:.3g} in OpenVINO"
        raise SourceError(message, field="source.uri", mend="an architecture that masks padding")


def _tokens_of(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    """The texts' token ids, those around a text included: some models look for them."""
    return list(tokenizer(list(texts), truncation=True, max_length=tokenizer.model_max_length)["input_ids"])


def _padded(batch: Sequence[list[int]]) -> "tuple[Tensor, Tensor]":
    ids, mask = padded(batch)
    return ids, mask.long()
