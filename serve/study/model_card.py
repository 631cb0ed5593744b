"""Writes a Hugging Face model card for each variant: a Markdown file with YAML front matter that the hub reads.

It sends nothing to the hub.
"""

from pathlib import Path

from variants.artifacts.card import Card
from variants.artifacts.manifest import Manifest
from variants.files import write_atomic
from variants.reports.formats import difference, measure, number, seconds, share, size

HUB_TASKS = {"image-generation": "text-to-image"}
"""The hub's name of a task, where it is another."""


def write_model_card(manifest: Manifest, card: Card, folder: Path) -> Path:
    """Write `MODEL@VARIANT.md` into `folder` and return its path."""
    path = folder / f"{manifest.model}@{manifest.variant}.md"
    write_atomic(path, model_card(manifest, card).encode())
    return path


def model_card(manifest: Manifest, card: Card) -> str:
    return f"---\n{front_matter(manifest, card)}\n---\n\n{body(manifest, card)}"


def front_matter(manifest: Manifest, card: Card) -> str:
    """Licence, base model, task and metrics, written by the hub's own library."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type=manifest.task,
            dataset_type=each.task,
            dataset_name=each.task,
            dataset_split="test",
            metric_type=each.metric,
            metric_value=round(each.value, 6),
            metric_name=f"{each.metric} ({each.n} examples)",
        )
        for each in card.accuracy
    ]
    licences = sorted({source.licence for source in manifest.sources})
    known = {"Apache-2.0": "apache-2.0", "MIT": "mit"}
    # The hub id of the original weights, or their address.
    original = next((each.hub.repo if each.kind == "hub" else each.uri for each in manifest.sources), None)
    data = ModelCardData(
        license=known.get(licences[0], "other") if len(licences) == 1 else "other",
        license_name=None if len(licences) == 1 and licences[0] in known else "; ".join(licences),
        base_model=original,
        pipeline_tag=HUB_TASKS.get(manifest.task, manifest.task),
        tags=["understudy", manifest.precision, manifest.recipe.kind],
        model_name=f"{manifest.model}@{manifest.variant}",
        eval_results=results,
    )
    return data.to_yaml()


def body(manifest: Manifest, card: Card) -> str:
    where = ", ".join((card.hardware.cpu, *card.hardware.gpus))
    lines = [
        f"# {manifest.model}@{manifest.variant}",
        "",
        f"Made by `{manifest.method}`" + (f" from `{manifest.parent}`." if manifest.parent else "."),
        manifest.note,
        "",
        "| measured | |",
        "|---|---|",
        *(f"| {what} | {figure} |" for what, figure in rows(manifest, card)),
        "",
        f"On {where}, {card.hardware.cores} cores, {card.created:%Y-%m-%d}; {card.measured_by}. "
        "Intervals are of 95 %; differences are of the same examples.",
        "",
        "```json",
        manifest.recipe.model_dump_json(indent=2, exclude_none=True),
        "```",
        "",
    ]
    return "\n".join(lines)


def rows(manifest: Manifest, card: Card) -> list[tuple[str, str]]:
    """The name and the figure of each measurement."""
    lines = [(f"{each.metric} on {each.task}, n {each.n:,}", measure(each, each.unit)) for each in card.accuracy]
    units = {(each.task, each.metric): each.unit for each in card.accuracy}
    lines += [
        (f"{each.metric} less its parent's on {each.task}", difference(each, units.get((each.task, each.metric), "")))
        for each in card.differences
    ]
    lines += [(f"same answers as its parent on {each.task}", share(each.value)) for each in card.agreement]
    lines += [
        (f"Fréchet distance of {each.n:,} drawn to {each.real:,} real ones, {each.task}", number(each.value))
        for each in card.distances
    ]
    if card.latency_s:
        lines.append(("one request, p50 and p95", f"{seconds(card.latency_s.p50)}, {seconds(card.latency_s.p95)}"))
    if card.throughput_per_s:
        lines.append(("requests/s", number(card.throughput_per_s)))
    if card.cost_cpu_s is not None:
        lines.append(("CPU-seconds for 1,000 requests", number(card.cost_cpu_s)))
    if card.cost_gpu_s is not None:
        lines.append(("GPU-seconds for 1,000 requests", number(card.cost_gpu_s)))
    if card.peak_gpu_bytes is not None:
        lines.append(("peak memory on GPUs", size(card.peak_gpu_bytes)))
    if card.peak_memory_bytes:
        lines.append(("peak memory", size(card.peak_memory_bytes)))
    return [
        *lines,
        ("artifact", f"{size(card.artifact_bytes)}, sha256 `{manifest.digest}`"),
        ("precision", card.precision),
    ]
