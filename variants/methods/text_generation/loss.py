"""What a method costs a text model, by its perplexity on calibration texts, and which layers rounding hurts most.

The perplexity is that of the model in memory, before and after, so nothing is loaded for it. Layers are ranked on the
parent: each alone is rounded to nearest, weights and activations as the scheme does. What that moves its output by is
compared with the output (NNCF ranks by the same normalised error). One pass over the texts ranks all layers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import TemplateError

from variants.artifacts.loss import Kept, Loss, change
from variants.errors import RecipeError
from variants.methods.base import BuildJob
from variants.methods.examples import gauge_examples
from variants.methods.text_generation.calibration import MAX_TOKENS, written
from variants.methods.training import padded
from variants.metrics.answer_scores import SCORES
from variants.recipes.recipe import Quantize

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_MOST = 16
"""Texts that are measured on."""
_AT_ONCE = 1024
"""Tokens of a pass, padding included: logits of all of them are in memory."""
_FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
"""What vLLM multiplies as one matrix, by its name there. It takes one scheme for all of it."""


@dataclass(frozen=True)
class Passages:
    """Calibration texts of `task` as token ids, two or more each."""

    task: str
    ids: Sequence[Sequence[int]]

    def loss(self, parent: float, variant: float) -> Loss:
        """The loss from two perplexities on these texts."""
        return Loss(measure="perplexity", task=self.task, examples=len(self.ids), parent=parent, variant=variant)

    def batches(self) -> "Iterator[tuple[Tensor, Tensor]]":
        """All texts, padded behind: ids and mask, int64 and bool [batch, length]."""
        rows: list[Sequence[int]] = []
        for row in sorted(self.ids, key=len):
            if rows and (len(rows) + 1) * len(row) > _AT_ONCE:
                yield padded(rows)
                rows = []
            rows.append(row)
        yield padded(rows)


class Gauge:
    """Measures a model in memory before a method changes it, and what it lost then."""

    def __init__(self, job: BuildJob, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        self.passages = passages(job, tokenizer)
        self.before = perplexity(model, self.passages) if self.passages else 0.0

    def loss(self, model: "PreTrainedModel") -> Loss | None:
        """None where no task is named that has calibration texts."""
        return self.passages.loss(self.before, perplexity(model, self.passages)) if self.passages else None


def passages(job: BuildJob, tokenizer: "PreTrainedTokenizerBase") -> Passages | None:
    """The texts that a variant is measured on; None where no task is named that has some."""
    chosen = gauge_examples(job, ("passage", "text", *SCORES), _MOST)
    if chosen is None:
        return None
    try:
        texts = written(*chosen, tokenizer)
    except (ValueError, TemplateError):  # chats, and a model without a template for them
        return None
    encoded: Any = tokenizer(texts, truncation=True, max_length=MAX_TOKENS)
    rows = [row for row in encoded["input_ids"] if len(row) > 1]
    return Passages(chosen[0].name, rows) if rows else None


def perplexity(model: "PreTrainedModel", texts: Passages) -> float:
    """exp of the mean surprise of a token given those before it, in nats; infinite where it does not fit a float."""
    import torch

    from variants.methods.text_generation.products import fast_products

    nats, tokens, here = 0.0, 0, next(model.parameters()).device
    with torch.inference_mode(), fast_products():
        for ids, mask in ((ids.to(here), mask.to(here)) for ids, mask in texts.batches()):
            logits = model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits[:, :-1]
            kept = mask[:, 1:]
            nats += float(torch.nn.functional.cross_entropy(logits[kept].float(), ids[:, 1:][kept], reduction="sum"))
            tokens += int(kept.sum())
    try:
        return exp(nats / tokens)
    except OverflowError:
        return float("inf")


def fused_name(name: str) -> str | None:
    """What vLLM calls the matrix that it multiplies a layer with, where that has others in it too."""
    above, _, last = name.rpartition(".")
    return next((f"{above}.{fused}" for fused, parts in _FUSED.items() if last in parts), None)


def units(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The layers' names, those together that vLLM multiplies as one matrix."""
    together: dict[str, list[str]] = {}
    for name in names:
        together.setdefault(fused_name(name) or name, []).append(name)
    return [tuple(unit) for unit in together.values()]


class Rounding(NamedTuple):
    """How a scheme rounds one layer, to nearest: bits of its weights, with a scale a row or a `group` of a row, and
    bits of its inputs, None where they stay."""

    layer: "nn.Linear"
    weight_bits: int
    group: int | None = None
    input_bits: int | None = None

    def __call__(self, states: "Tensor") -> "Tensor":
        """The rounded layer's output."""
        import torch

        inputs = states if self.input_bits is None else rounded(states, self.input_bits)
        weight = rounded(self.layer.weight, self.weight_bits, self.group)
        return torch.nn.functional.linear(inputs, weight, self.layer.bias)


def ranked(model: "PreTrainedModel", roundings: Mapping[str, Rounding], texts: Passages) -> list[tuple[str, ...]]:
    """The units of the layers by name, the one first whose output rounding moves most."""
    errors, sizes = dict.fromkeys(roundings, 0.0), dict.fromkeys(roundings, 0.0)

    def observer(name: str) -> Any:
        def observe(layer: "nn.Module", given: "tuple[Tensor, ...]", output: "Tensor") -> None:
            errors[name] += float((roundings[name](given[0]) - output).float().square().sum())
            sizes[name] += float(output.float().square().sum())

        return observe

    handles = [rounding.layer.register_forward_hook(observer(name)) for name, rounding in roundings.items()]
    try:
        perplexity(model, texts)
    finally:
        for handle in handles:
            handle.remove()
    cost = {name: errors[name] / sizes[name] if sizes[name] else 0.0 for name in roundings}
    return sorted(units(list(roundings)), key=lambda unit: -max(cost[name] for name in unit))


def hold(
    recipe: Quantize,
    model: "PreTrainedModel",
    roundings: Mapping[str, Rounding],
    texts: Passages,
    build: Callable[[Sequence[str]], float],
) -> tuple[Loss, Kept | None]:
    """Keep more and more units of `roundings`, the layers of the parent `model` (none, 1, 2, 4, ...).

    It ends when the recipe's limit holds. `build` gets the names of the kept layers and gives the perplexity.

    RecipeError where it does not hold before all are kept.
    """
    limit, before = recipe.limit("perplexity"), perplexity(model, texts)
    assert limit is not None
    order = ranked(model, roundings, texts)
    sizes = {name: each.layer.weight.numel() for name, each in roundings.items()}
    losses: list[Loss] = []
    for count in _counts(len(order)):
        kept = [name for unit in order[:count] for name in unit]
        losses.append(texts.loss(before, build(kept)))
        if losses[-1].lost <= limit:
            share = sum(map(sizes.__getitem__, kept)) / sum(sizes.values())
            plain = losses[0].variant
            return losses[-1], Kept(layers=tuple(kept), variant=plain, weights_share=share) if kept else None
    raise RecipeError(
        f"on {len(texts.ids)} calibration examples of {texts.task} {change('perplexity', losses[0].lost)}, and with "
        f"{len(kept)} of {len(roundings)} layers in 16 bits by {losses[-1].lost:.1%}; {limit:.1%} is allowed",
        field="recipe.most_loss",
        mend="allow more, or take fp16",
    )


def _counts(units: int) -> Iterator[int]:
    """0, 1, 2, 4, ... below `units`: with all of them kept nothing would be quantized."""
    yield 0
    count = 1
    while count < units:
        yield count
        count *= 2


def texts_to_hold(job: BuildJob[Quantize], tokenizer: "PreTrainedTokenizerBase") -> Passages:
    """The texts that `keep` measures on. RecipeError where there is none."""
    if (texts := passages(job, tokenizer)) is None:
        message = "keep needs calibration texts of two tokens or more"
        raise RecipeError(message, field="recipe.calibration.task", mend="another task")
    return texts


def rounded(values: "Tensor", bits: int, group: int | None = None) -> "Tensor":
    """Rounded to nearest and widened again, with a symmetric scale for each row, or each `group` of a row."""
    rows = values.unflatten(-1, (-1, group)) if group else values
    most = 2 ** (bits - 1) - 1
    scale = rows.abs().amax(-1, keepdim=True).clamp(min=1e-9) / most
    return ((rows / scale).round().clamp(-most - 1, most) * scale).reshape(values.shape)
