"""Summarises records, slice windows and the server's state as `summary.json`.

Every figure comes from these files. A failed request is counted, and has no latency. An example without an answer
counts as a failure, and not in the n of the accuracy.
"""

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from loadtest.results import answer_metrics
from loadtest.results.compare import AccuracyDifference, Metric, SpeedRatio, accuracy_difference, speed_ratio
from loadtest.results.records import Record, SliceWindow, by_example, read_lines
from loadtest.results.rollout_verdict import read_verdict
from loadtest.results.schema import (
    AccuracyFigure,
    Comparison,
    MixedFigures,
    ModelFigures,
    Quantiles,
    SliceFigures,
    Summary,
    VariantFigures,
)
from loadtest.results.sentences import limits, says
from loadtest.target import ServedModel, ServedVariant, ServerState, Task
from variants.errors import InputError, IntegrityError
from variants.evidence.intervals import wilson

SERVED = {
    "variant", "method", "precision", "parent", "engine", "note", "artifact_sha256", "artifact_bytes",
    "peak_memory_bytes",
}  # fmt: skip
"""The fields of a variant that the summary takes from the server's state."""


class Phases(BaseModel):
    """`phases.json`: the times of the demo and of each of its phases, and its peak memory."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    wall_s: float
    phases_s: dict[str, float]
    peak_memory_bytes: int | None = None


def summarise(out_dir: Path) -> Summary:
    """Read the files of a campaign in `out_dir`, write `summary.json` beside them, and return it.

    Raises InputError if a file is missing, and IntegrityError if one is invalid.
    """
    try:
        records = read_lines(out_dir / "records.jsonl", Record)
        windows = read_lines(out_dir / "slices.jsonl", SliceWindow)
        state = ServerState.model_validate_json((out_dir / "server.json").read_bytes())
        about = json.loads((out_dir / "campaign.json").read_bytes())
        phases = Phases(wall_s=about["wall_s"], phases_s={"load": about["wall_s"]})
        if (of_demo := out_dir / "phases.json").exists():
            phases = Phases.model_validate_json(of_demo.read_bytes())
        verdict = read_verdict(out_dir / "verdict.json", state)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing", mend="run a whole campaign into this folder first") from None
    except (ValidationError, ValueError, KeyError) as error:
        raise IntegrityError(f"a file in {out_dir} is damaged: {' '.join(str(error).split())[:200]}") from None
    models = tuple(_model(served, records.lines, windows.lines) for served in state.models)
    models = tuple(model for model in models if any(variant.requests for variant in model.variants))
    summary = Summary(
        machine=state.machine,
        versions=state.versions,
        campaign=about["campaign"]["name"],
        started=about["started"],
        **phases.model_dump(),
        load_s=_parts(records.lines),
        models=models,
        limits=tuple(limits(models, records.cut_bytes + windows.cut_bytes)),
        verdict=verdict,
    )
    (out_dir / "summary.json").write_text(summary.to_json(), encoding="utf-8")
    return summary


def _parts(records: Sequence[Record]) -> dict[str, float]:
    """The seconds from the first request of each part to the end of its last. The warm-up counts as speed."""
    spans: dict[str, list[float]] = {}
    for record in records:
        part = "speed" if record.part == "warm-up" else record.part
        begin = record.started if record.planned is None else record.planned
        spans.setdefault(part, []).extend((begin, begin + record.latency_s))
    return {part: round(max(times) - min(times), 3) for part, times in spans.items()}


def _model(served: ServedModel, records: Iterable[Record], windows: Iterable[SliceWindow]) -> ModelFigures:
    mine = [record for record in records if record.model == served.model]
    open_windows = [window for window in windows if window.model == served.model]
    routed = sum(record.part == "mixed" for record in mine)
    by_variant: dict[str, list[Record]] = {variant.variant: [] for variant in served.variants}
    for record in mine:
        # A failed request counts for the variant that it was sent to. A routed one that failed counts for none.
        name = record.variant_asked or record.variant
        if name in by_variant:
            by_variant[name].append(record)
    windows_of = {name: [window for window in open_windows if window.variant == name] for name in by_variant}
    variants = tuple(
        _variant(each, by_variant[each.variant], windows_of[each.variant], routed, served.task)
        for each in served.variants
    )
    comparisons = tuple(_comparisons(variants, by_variant, served.task))
    return ModelFigures(
        model=served.model,
        task=served.task,
        variants=variants,
        comparisons=comparisons,
        lost=sum(record.variant_asked is None and record.variant is None for record in mine),
        says=says(served.model, variants, comparisons),
    )


def _variant(
    served: ServedVariant, records: list[Record], windows: list[SliceWindow], routed: int, task: Task
) -> VariantFigures:
    _check_build(served, records)
    slices = tuple(_slices(records, windows))
    settled = list(_settled(records, windows))
    tokens = [figures.output_tokens_per_s for figures in slices if figures.output_tokens_per_s is not None]
    return VariantFigures(
        **served.model_dump(include=SERVED),
        requests=len(records),
        failed=sum(record.failed for record in records),
        clients=windows[0].clients if windows else None,
        output_tokens=sum(record.output_tokens or 0 for record in records),
        slices=slices,
        throughput_rps=statistics.median(each.throughput_rps for each in slices) if slices else None,
        output_tokens_per_s=statistics.median(tokens) if tokens else None,
        latency_s=_quantiles(record.latency_s for record in settled),
        ttft_s=_quantiles(record.ttft_s for record in settled),
        tpot_s=_quantiles(record.tpot_s for record in settled),
        accuracy=tuple(_accuracies(records, task)),
        mixed=_mixed([record for record in records if record.part == "mixed"], routed),
    )


def _check_build(served: ServedVariant, records: list[Record]) -> None:
    """Raises IntegrityError if the variant got another artifact during the campaign: figures are of one artifact."""
    others = {record.artifact for record in records if record.artifact is not None} - {served.artifact_sha256}
    if others:
        raise IntegrityError(
            f"some answers of {served.variant} are of another build, {min(others)[:8]}",
            field=served.variant,
            mend="run the campaign again, and do not change the variant meanwhile",
        )


def _slices(records: list[Record], windows: list[SliceWindow]) -> Iterable[SliceFigures]:
    for window in sorted(windows, key=lambda window: window.slice):
        inside = [record for record in records if record.part == "speed" and record.slice == window.slice]
        streamed = any(record.ttft_s is not None for record in inside)
        tokens = sum(record.slice_tokens or 0 for record in inside)
        yield SliceFigures(
            slice=window.slice,
            seconds=window.seconds,
            throughput_rps=sum(record.slice_share or 0 for record in inside) / window.seconds,
            output_tokens_per_s=tokens / window.seconds if streamed else None,
            load_cores=window.load_cores,
        )


def _settled(records: list[Record], windows: list[SliceWindow]) -> Iterable[Record]:
    """The requests of the speed part that ended inside their slice's window, while all clients were active."""
    open_at = {window.slice: window for window in windows}
    for record in records:
        if record.part != "speed" or record.failed or record.slice not in open_at:
            continue
        window = open_at[record.slice]
        if 0 <= record.started + record.latency_s - window.opened < window.seconds:
            yield record


def _quantiles(values: Iterable[float | None]) -> Quantiles | None:
    """The quantiles of the values that are not None. None without one."""
    times = [value for value in values if value is not None]
    if not times:
        return None
    p50, p95, p99 = np.percentile(times, [50, 95, 99]).tolist()
    return Quantiles(p50=p50, p95=p95, p99=p99, n=len(times))


def _scored(records: Iterable[Record]) -> dict[str, dict[str, bool]]:
    return by_example(records, lambda record: record.correct if record.scorer is None else None)


def _accuracies(records: list[Record], kind: Task) -> Iterable[AccuracyFigure]:
    if kind == "object-detection":
        yield from answer_metrics.accuracies(answer_metrics.MAP50, records)
        return
    for task, scored in sorted(_scored(records).items()):
        interval = wilson(sum(scored.values()), len(scored))
        yield AccuracyFigure(task=task, n=len(scored), **vars(interval))
    further = [answer_metrics.SPEARMAN] if kind == "feature-extraction" else answer_metrics.of_scorers(records)
    for metric in further:
        yield from answer_metrics.accuracies(metric, records)


def _mixed(records: list[Record], routed: int) -> MixedFigures | None:
    if not routed:
        return None
    answered = [record for record in records if not record.failed]
    return MixedFigures(
        requests=len(records),
        failed=len(records) - len(answered),
        share=len(records) / routed,
        latency_s=_quantiles(record.latency_s for record in answered),
        ttft_s=_quantiles(record.ttft_s for record in answered),
    )


def _comparisons(
    variants: tuple[VariantFigures, ...], records: dict[str, list[Record]], task: Task
) -> Iterable[Comparison]:
    by_name = {variant.variant: variant for variant in variants}
    for variant in variants:
        # A variant without a parent that is not the baseline itself is compared with the baseline.
        parent = by_name.get(variant.parent or "baseline")
        if parent is None or parent is variant:
            continue
        mine, theirs = records[variant.variant], records[parent.variant]
        yield Comparison(
            variant=variant.variant,
            parent=parent.variant,
            bytes_ratio=variant.artifact_bytes / parent.artifact_bytes,
            speed=_speed(variant, parent),
            accuracy=tuple(_differences(mine, theirs, task)),
        )


def _differences(variant: list[Record], parent: list[Record], kind: Task) -> Iterable[AccuracyDifference]:
    if kind == "object-detection":
        yield from answer_metrics.differences(answer_metrics.MAP50, variant, parent)
        return
    mine, theirs = _scored(variant), _scored(parent)
    for task in sorted(mine.keys() & theirs.keys()):
        if difference := accuracy_difference(task, mine[task], theirs[task]):
            yield difference
    further = [answer_metrics.SPEARMAN] if kind == "feature-extraction" else answer_metrics.of_scorers(variant)
    for metric in further:
        yield from answer_metrics.differences(metric, variant, parent)


def _speed(variant: VariantFigures, parent: VariantFigures) -> SpeedRatio | None:
    """The ratio of output tokens a second if the variant has them, else of requests a second."""
    metric: Metric = "throughput_rps" if variant.output_tokens_per_s is None else "output_tokens_per_s"
    return speed_ratio(metric, *([getattr(each, metric) or 0.0 for each in of.slices] for of in (variant, parent)))
