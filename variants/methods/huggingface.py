"""What the readers of Hugging Face folders share: one error for all that cannot be read, and checks of what was read.

transformers draws random weights for tensors that a folder lacks or has in another shape. It drops tensors that its
model lacks. It only logs both, so its report is checked here.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variants.artifacts.tensors import tensor_entries
from variants.errors import SourceError, UnderstudyError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FIELD = "source.uri"
_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_COMPUTED = re.compile(
    r"(^|\.)(num_batches_tracked|position_ids|relative_position_index|inv_freq|masked_bias|(attn|attention)\.bias)$"
)
"""Buffers that older versions of transformers stored, and that a model computes or does not use: no weights."""
_NUMBERED = re.compile(r"(.+?)\.\d+\.")
_NAMED = 3


def labels_of(model: "PreTrainedModel") -> tuple[str, ...]:
    """The model's labels, in the order of its outputs."""
    names: dict[int, str] = model.config.id2label  # type: ignore[assignment]
    return tuple(names[index] for index in sorted(names))


def new_head(labels: tuple[str, ...] | None) -> dict[str, Any]:
    """Arguments of `from_pretrained` for a new head with these labels; none for `None`, which keeps the head."""
    if labels is None:
        return {}
    names = dict(enumerate(labels))
    numbers = {name: number for number, name in names.items()}
    return {"num_labels": len(labels), "id2label": names, "label2id": numbers}


REPORTED: Mapping[str, Any] = {"weights_only": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
"""Arguments of `from_pretrained` with which it returns its report for `check_weights`. It names no tensor where it
raises for a shape itself."""


@contextmanager
def reading(source: Path, what: str) -> Iterator[None]:
    """SourceError for whatever is raised while `what` is read from `source`. It names a safetensors file that is not
    whole."""
    try:
        yield
    except UnderstudyError:
        raise
    except Exception as error:  # tokenizers raises Exception itself; safetensors, pickle and torch have their own
        reason = _broken_file(source) or " ".join(str(error).split()) or type(error).__name__
        raise SourceError(f"transformers cannot read {what} in {source}: {reason}", field=FIELD) from error


def _broken_file(source: Path) -> str | None:
    """Why a safetensors file of a folder cannot be opened; None where all can."""
    for path in sorted(source.glob("*.safetensors")):
        try:
            tensor_entries(path)
        except (ValueError, OSError) as error:
            return str(error)
    return None


def check_weights(
    source: Path,
    model: "PreTrainedModel",
    report: Mapping[str, Any],
    *,
    has_new_head: bool = False,
    has_pooler: bool = True,
    mend: str = "a folder with all weights",
) -> None:
    """SourceError where the source lacks weights of `model`, has them in other shapes, or has layers that it lacks.

    `report` is what `from_pretrained` returns with `REPORTED`. With `has_new_head`, a head and a pooler that are to
    be trained are left out. Without `has_pooler`, a pooler is left out. Weights tied to others are not in the report.
    """

    def is_wanted(name: str) -> bool:
        if _COMPUTED.search(name) or ("pooler" in name and (has_new_head or not has_pooler)):
            return False
        return not (has_new_head and _is_of_head(model, name))

    file = _weights_of(source)
    missing = sorted(filter(is_wanted, report["missing_keys"]))
    if missing:
        raise SourceError(f"{file} has no weights for {_named(missing)}", field=FIELD, mend=mend)
    for name, stored, wanted in sorted(report["mismatched_keys"]):
        if is_wanted(name):
            message = f"{file} has {name} as {list(stored)}, and config.json says {list(wanted)}"
            raise SourceError(message, field=FIELD, mend="weights and a config.json of one model")
    dropped = sorted(_layers_without_place(model, report["unexpected_keys"]))
    if dropped:
        message = f"{file} has weights that its config.json has no place for: {_named(dropped)}"
        raise SourceError(message, field=FIELD, mend="weights and a config.json of one model")


def check_vocabulary(source: Path, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
    """SourceError where the tokenizer's vocabulary is larger than the model's. Added tokens are not counted: Gemma 3's
    text models have one that only its image models use."""
    rows = vocabulary_of(model)
    if rows is not None and tokenizer.vocab_size > rows:
        message = f"the tokenizer in {source} has {tokenizer.vocab_size} tokens, and config.json says {rows}"
        raise SourceError(message, field=FIELD, mend="tokenizer and weights of one model")


def vocabulary_of(model: "PreTrainedModel") -> int | None:
    """How many token ids the model takes; None for a model without a table of them."""
    rows = getattr(model.config.get_text_config(), "vocab_size", None)
    return rows if isinstance(rows, int) else None


def _is_of_head(model: "PreTrainedModel", name: str) -> bool:
    """Whether a tensor is outside the model's base. Where a class has no base of its own (CLIP's classifier), whether
    its layer has an output for each label."""
    if model.base_model is not model:
        return not name.startswith(f"{model.base_model_prefix}.")
    weight = getattr(model.get_submodule(name.rpartition(".")[0]), "weight", None)
    return weight is not None and len(weight) == model.config.num_labels


def _layers_without_place(model: "PreTrainedModel", unexpected: Iterable[str]) -> Iterator[str]:
    """Weights among `unexpected` that are in a numbered list of layers which the model has as well. Heads for another
    purpose are in none."""
    prefix = f"{model.base_model_prefix}."
    lists = {_list_of(name.removeprefix(prefix)) for name in model.state_dict()} - {None}
    for name in unexpected:
        is_weight = name.endswith((".weight", ".bias")) and not _COMPUTED.search(name)
        if is_weight and _list_of(name.removeprefix(prefix)) in lists:
            yield name


def _list_of(name: str) -> str | None:
    """The name of the first list of layers that a tensor is in: `encoder.layer` of `encoder.layer.0.output.bias`."""
    match = _NUMBERED.match(name)
    return match[1] if match else None


def _weights_of(source: Path) -> Path:
    """The file of which transformers reads weights, in its order."""
    files = [source / name for name in _FILES]
    return next((path for path in files if path.is_file()), source)


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
