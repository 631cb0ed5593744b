"""Sentences on what the figures of a campaign show, and on what they do not show.

A verdict is better, worse, or cannot tell, and stands beside its figures. "Cannot tell" is never called "equal".
"""

from collections.abc import Iterable, Sequence
from itertools import chain

from loadtest.results.compare import AccuracyDifference, SpeedRatio
from loadtest.results.schema import Comparison, ModelFigures, VariantFigures
from variants.reports import sentences
from variants.reports.formats import points, signed, span

METRIC = {"output_tokens_per_s": "output tokens/s", "throughput_rps": "requests/s"}


def says(model: str, variants: Sequence[VariantFigures], comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """One sentence for each comparison, and one if requests failed."""
    lines = [_comparison(model, comparison) for comparison in comparisons]
    failing = [variant for variant in variants if variant.failed]
    if failing:
        counts = ", ".join(f"{each.failed} of {each.requests} of {each.variant}" for each in failing)
        lines.append(f"{model}: requests failed ({counts}); figures are of those that did not.")
    return tuple(lines)


def _comparison(model: str, comparison: Comparison) -> str:
    parts = [_speed(comparison.speed)] if comparison.speed else []
    parts.append(f"{100 * comparison.bytes_ratio:.0f} % of its bytes")
    parts += [_accuracy(difference) for difference in comparison.accuracy]
    return f"{model}: {comparison.variant} against {comparison.parent}: {'; '.join(parts)}."


def _speed(ratio: SpeedRatio) -> str:
    figures = f"{ratio.median:.2f} times its {METRIC[ratio.metric]}"
    spread = f"({ratio.low:.2f} to {ratio.high:.2f} over {ratio.slices} slices)"
    verdict = "cannot tell in speed" if ratio.verdict == "cannot tell" else ratio.verdict
    return f"{verdict}, {figures} {spread}"


def _accuracy(difference: AccuracyDifference) -> str:
    interval = f"(95 % {span(difference, difference.unit)}, {difference.n:,} examples)"
    metric = "" if difference.metric == "accuracy" else f" by {difference.metric}"
    verdict = f"{difference.verdict} on {difference.task}{metric}"
    share = difference.unit == "share"
    change = f"{points(difference.difference)} points" if share else signed(difference.difference)
    return f"{verdict}, {change} {interval}"


def limits(models: Sequence[ModelFigures], cut_bytes: int) -> Iterable[str]:
    """Sentences on what the figures do not show. `cut_bytes` is the length of cut lines in the record files."""
    variants = [variant for model in models for variant in model.variants]
    loads = [(each.load_cores, model.model) for model in models for each in chain(*(v.slices for v in model.variants))]
    if loads:
        yield (
            "Speed is of each variant alone on this machine while the others were idle. On a similar machine the "
            "ratios may be the same, tokens and requests a second are not."
        )
        cores, name = max(loads)
        yield (
            f"The load generator kept up to {cores:.2f} cores of the same machine busy ({name}). Every rate includes "
            "the transport: the shorter a request, the more a ratio of rates understates that of the engines."
        )
    thin = [variant.latency_s.n for variant in variants if variant.latency_s]
    if thin and min(thin) < 200:
        yield f"A p99 is of as few as {min(thin)} requests, and so little more than their slowest."
    differences = [each for model in models for compared in model.comparisons for each in compared.accuracy]
    if len(differences) > 1:
        yield sentences.misses(len(differences))
    unsure = [each for each in differences if each.verdict == "cannot tell" and each.unit == "share"]
    if unsure:
        widest = max(unsure, key=lambda difference: difference.high - difference.low)
        yield sentences.not_equal("Cannot tell", widest.n, widest.task, widest.low)
    lost = sum(model.lost for model in models)
    if lost:
        yield f"{lost} routed requests failed before any variant answered, and are in no row."
    if cut_bytes:
        yield f"The last line of a record file was cut ({cut_bytes} bytes) and is left out."
