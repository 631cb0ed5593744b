"""What a method costs a text model, by its perplexity on calibration texts, and which layers rounding hurts most.

The perplexity is that of the model in memory, before and after, so nothing is loaded for it. Layers are ranked on the
parent: each alone is rounded to nearest, weights and activations as the scheme does, and what that moves its output by
is compared with the output (NNCF ranks by the same normalised error). One pass over the texts ranks all layers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import TemplateError

from variants.artifacts.loss import Loss, change
from variants.errors import RecipeError
from variants.methods.base import BuildJob
from variants.methods.examples import gauge_examples
from variants.methods.text_generation.calibration import MAX_TOKENS, written
from variants.methods.training import padded
from variants.metrics.answer_scores import SCORES

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_MOST = 16
"""Texts that are measured on."""
_AT_ONCE = 1024
"""Tokens of a pass, padding included: logits of all of them are in memory."""
_FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""What vLLM multiplies as one matrix. It takes one scheme for all of it."""


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

    nats, tokens = 0.0, 0
    with torch.inference_mode():
        for ids, mask in texts.batches():
            logits = model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits[:, :-1]
            kept = mask[:, 1:]
            nats += float(torch.nn.functional.cross_entropy(logits[kept].float(), ids[:, 1:][kept], reduction="sum"))
            tokens += int(kept.sum())
    try:
        return exp(nats / tokens)
    except OverflowError:
        return float("inf")


def units(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The layers' names, those together that vLLM multiplies as one matrix."""
    together: dict[tuple[str, str], list[str]] = {}
    for name in names:
        above, _, last = name.rpartition(".")
        fused = next((group[0] for group in _FUSED if last in group), last)
        together.setdefault((above, fused), []).append(name)
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
    order: Sequence[tuple[str, ...]],
    limit: float,
    before: float,
    build: Callable[[Sequence[str]], float],
    examples: str,
) -> tuple[float, list[str], float]:
    """Keep more and more units of `order` (none, 1, 2, 4, ...) until `build`, which gets the names of the kept layers
    and gives the perplexity, is at most `limit` above `before`. Returns the perplexity, the kept layers, and the
    perplexity without any kept.

    RecipeError where it does not hold before all are kept.
    """
    counts = [0]
    while max(1, 2 * counts[-1]) < len(order):
        counts.append(max(1, 2 * counts[-1]))
    first = None
    for count in counts:
        kept = [name for unit in order[:count] for name in unit]
        after = build(kept)
        first = after if first is None else first
        if after / before - 1 <= limit:
            return after, kept, first
    assert first is not None
    raise RecipeError(
        f"on {examples} {change('perplexity', first / before - 1)}, and with {len(kept)} layers in 16 bits by "
        f"{after / before - 1:.1%}: no more than {limit:.1%} is allowed",
        field="recipe.most_loss",
        mend="allow more, or take fp16",
    )


def rounded(values: "Tensor", bits: int, group: int | None = None) -> "Tensor":
    """Rounded to nearest and widened again, with a symmetric scale for each row, or each `group` of a row."""
    rows = values.unflatten(-1, (-1, group)) if group else values
    most = 2 ** (bits - 1) - 1
    scale = rows.abs().amax(-1, keepdim=True).clamp(min=1e-9) / most
    return ((rows / scale).round().clamp(-most - 1, most) * scale).reshape(values.shape)
