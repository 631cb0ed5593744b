"""The stack file: the models and variants, how each is built, and how each is served.

One typed, frozen document (YAML, `schema: 1`). `serve.config.loader` refuses unknown keys. `variants.build.builder`
builds the variants, and `serve.app` serves them."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from serve.config.engine_plugin import BUILT_IN, PluginEngine, engine_plugin
from serve.config.judge import Judge
from serve.config.keep_answers import KeepAnswers
from serve.config.keep_requests import KeepRequests
from serve.config.objectives import Objectives
from serve.config.parsers import NONE, REASONING_PARSERS, TOOL_PARSERS
from serve.config.resources import NOTHING, Asked, AskedOfCpu, AskedOfOneGpu, CacheDtype, Eager
from serve.config.segment import EVERY_MODEL, Segment, SegmentName
from serve.config.server.settings import Server
from variants.artifacts.manifest import TaskKind
from variants.build.builder import VariantPlan
from variants.document import Document, Number, Whole, absent, exactly
from variants.metrics.answer_scores import SCORES
from variants.recipes.recipe import Recipe, TaskName
from variants.recipes.source import Source
from variants.tasks import Tasks, check_names
from variants.tasks.task_file import TaskFile

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_PART = "[A-Za-z0-9][A-Za-z0-9._:-]*"
ALIAS = re.compile(rf"(?=.{{1,128}}\Z){_PART}(/{_PART})*")
"""What clients call models elsewhere: `meta-llama/Llama-3.1-8B-Instruct`, `llama3:8b`."""
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$", description="a name as in Python")]
MOST_WEIGHT = 1e6


class Adapters(Document):
    """The adapter slots of an engine, and the largest rank of an adapter. Slots make every request slower, so an engine
    has none by default."""

    slots: Whole = Field(default=4, ge=1, le=64)
    rank: Annotated[Literal[8, 16, 32, 64, 128], exactly(int)] = 16
    modules: tuple[Identifier, ...] = Field(
        default=("q_proj", "k_proj", "v_proj", "o_proj"),
        min_length=1,
        max_length=64,
        description="layers that adapters may adapt; each slows all requests",
    )


class VllmEngine(Document):
    """vLLM's own OpenAI server. `context` in tokens (by default 2048, or the model's positions where it has fewer),
    `kv_cache_mib` MiB of key-value cache on a CPU; on a GPU its share decides. The parsers are vLLM's, by name; without
    one the model decides (`serve.config.parsers`)."""

    kind: Literal["vllm"]
    threads: Whole = Field(default=1, ge=1, le=1024)
    context: Whole | None = Field(default=None, ge=16, exclude_if=absent)
    kv_cache_mib: Whole = Field(default=512, ge=16)
    sequences: Whole = Field(default=64, ge=1, description="most requests decoded together")
    adapters: Adapters | None = None
    tool_parser: Annotated[str, Field(json_schema_extra={"enum": [NONE, *TOOL_PARSERS]})] | None = Field(
        default=None, exclude_if=absent, description="reads tool calls; none: no tools"
    )
    reasoning_parser: Annotated[str, Field(json_schema_extra={"enum": [NONE, *REASONING_PARSERS]})] | None = Field(
        default=None, exclude_if=absent, description="reads reasoning; none: off"
    )
    eager: Eager = False
    kv_cache_dtype: CacheDtype = "auto"
    resources: Asked = NOTHING

    @field_validator("tool_parser", "reasoning_parser")
    @classmethod
    def check_parser(cls, name: str | None, info: ValidationInfo) -> str | None:
        known = TOOL_PARSERS if info.field_name == "tool_parser" else REASONING_PARSERS
        if name not in (None, NONE, *known):
            raise ValueError(f"there is no such parser: known are {', '.join((NONE, *known))}")
        return name

    @model_validator(mode="after")
    def check_cache(self) -> Self:
        if self.kv_cache_dtype == "fp8" and not self.resources.gpus:
            raise ValueError("kv_cache_dtype fp8 needs a GPU: resources: {gpus: 1}, or leave it out")
        return self


class TorchEngine(Document):
    """torch: image classifiers that OpenVINO does not run, by transformers, and pipelines of diffusers."""

    kind: Literal["torch"]
    threads: Whole = Field(default=1, ge=1, le=1024)
    resources: AskedOfOneGpu = NOTHING


class OpenVinoEngine(Document):
    """OpenVINO on CPU."""

    kind: Literal["openvino"]
    threads: Whole = Field(default=1, ge=1, le=1024)
    resources: AskedOfCpu = NOTHING


class ScriptedEngine(Document):
    """Deterministic answers with settable timing, for tests and dry runs. Times in seconds, `context` in tokens."""

    kind: Literal["scripted"]
    context: Whole = Field(default=2048, ge=16)
    first_token_s: Number = Field(default=0.0, ge=0, le=60)
    token_s: Number = Field(default=0.0, ge=0, le=60)
    startup_s: Number = Field(default=0.0, ge=0, le=600)
    errs: Number = Field(default=0.0, ge=0, le=1, description="share of labelled prompts answered otherwise")
    loops: bool = Field(
        default=False, strict=True, exclude_if=lambda on: not on, description="texts repeat until their limit"
    )
    fail_after: Whole | None = Field(default=None, ge=0, description="requests answered before all others get a 500")
    hang_after: Whole | None = Field(default=None, ge=0, description="requests answered before all others hang")
    garble_after: Whole | None = Field(default=None, ge=0, description="requests answered before all others get NaN")
    exit_after: Whole | None = Field(default=None, ge=0, description="requests answered before the process ends itself")
    adapters: Adapters | None = None
    resources: Asked = NOTHING


ENGINES: dict[TaskKind, tuple[str, ...]] = {
    "text-generation": ("vllm", "scripted"),
    "image-classification": ("openvino", "torch", "scripted"),
    "feature-extraction": ("openvino", "scripted"),
    "object-detection": ("openvino",),
    "text-classification": ("openvino", "scripted"),
    "image-generation": ("openvino", "torch"),
}
EXAMPLES: dict[TaskKind, tuple[str, ...]] = {
    "text-generation": ("text", "choice", "passage", "harness"),
    "image-classification": ("image", "ranked"),
    "feature-extraction": ("triplet", "pair"),
    "object-detection": ("boxes",),
    "text-classification": ("article",),
    "image-generation": ("drawing", "picture"),
}
"""The kinds of examples that a model of each task can be evaluated on, beside those of generated answers."""
TEXTS: tuple[TaskKind, ...] = ("text-generation", "feature-extraction", "text-classification")


def tag_of(engine: Any) -> str | None:
    """Which class an engine is of, by its kind. One that is not built in is a plug-in's; errors then name `kind`."""
    kind = engine.get("kind") if isinstance(engine, dict) else getattr(engine, "kind", None)
    return kind if kind in BUILT_IN or kind is None else "kind"


Engine = Annotated[
    Annotated[VllmEngine, Tag("vllm")]
    | Annotated[TorchEngine, Tag("torch")]
    | Annotated[OpenVinoEngine, Tag("openvino")]
    | Annotated[ScriptedEngine, Tag("scripted")]
    | Annotated[PluginEngine, Tag("kind")],
    Discriminator(
        tag_of, custom_error_type="engine_without_kind", custom_error_message="an engine needs `kind`, like vllm"
    ),
]


def does(engine: Engine, task: TaskKind) -> bool:
    """Whether an engine serves models of a task. Raises PluginError for a plug-in with the name of a built-in one."""
    added = engine_plugin(engine.kind)
    return task in added[1].tasks if added else engine.kind in ENGINES[task]


class Limits(Document):
    """The most requests of one variant, in each ingress, and the most work of one request."""

    concurrency: Whole = Field(default=64, ge=1, description="requests at the engine at once")
    queue: Whole = Field(default=256, ge=0, description="requests waiting beyond that; more are answered 429")
    share: Number = Field(
        default=0.5,
        gt=0,
        le=1,
        description="of concurrency and of queue, the most for one key or client while others wait",
    )
    timeout_s: Number = Field(
        default=120.0, gt=0, le=3600, description="from a request's first byte to its answer's last"
    )
    choices: Whole = Field(default=16, ge=1, description="answers to one prompt: `n`")
    inputs: Whole | None = Field(
        default=None, ge=1, description="prompts, texts or images of one request; none: the task's own bound"
    )
    tokens: Whole = Field(default=2**17, ge=1, description="new tokens of a request with several answers, in all")
    characters: Whole = Field(default=2**22, ge=1, description="characters of a request's texts, in all")


class Variant(Document):
    """One served form of a model. `weight` is its share of the model's routed requests, relative to the others'."""

    recipe: Recipe
    parent: str | None = None
    source: Source | None = None
    engine: Engine
    weight: Number = Field(default=0.0, ge=0, le=MOST_WEIGHT)


class Routing(Document):
    """The rest of a model's traffic, beside the weights. `pins` has a variant by client. `shadows` has, by variant, the
    share of requests that it answers again for comparison."""

    sticky: Annotated[bool, Field(strict=True)] = True
    pins: dict[str, str] = Field(default_factory=dict)
    shadows: dict[str, Annotated[Number, Field(gt=0, le=1)]] = Field(default_factory=dict)


def with_engine_of_today(variant: Any, text: bool) -> Any:
    """A variant as it stands in a stack file, whose engine may be `torch` with the fields that it had for text."""
    engine = variant.get("engine") if isinstance(variant, dict) else None
    if not isinstance(engine, dict) or engine.get("kind") != "torch":
        return variant
    if not text:
        return variant | {"engine": {key: value for key, value in engine.items() if key not in ("context", "batch")}}
    renamed = {"sequences" if key == "batch" else key: value for key, value in engine.items()}
    return variant | {"engine": renamed | {"kind": "vllm"}}


class Model(Document):
    task: TaskKind
    source: Source
    seed: Whole = 0
    limits: Limits = Limits()
    evaluate: tuple[str, ...] = ()
    traffic: Routing = Routing()
    rollout: dict[str, Any] | None = Field(
        default=None,
        exclude_if=absent,
        description="a rollout's plan, begun once for its artifacts; `serve.control.rollout` reads it",
    )
    aliases: tuple[str, ...] = Field(default=(), description="other names that clients may ask for it by")
    keep_requests: KeepRequests | None = Field(
        default=None, exclude_if=absent, description="keeps clients' texts on disk, for tasks of one's own"
    )
    segments: dict[SegmentName, Segment] = Field(
        default_factory=dict, max_length=8, description="parts that rollouts watch"
    )
    objectives: Objectives | None = Field(default=None, exclude_if=absent, description="limits that alerts hold")
    keep_answers: KeepAnswers | None = Field(default=None, exclude_if=absent, description="keeps answers that differ")
    judge: Judge | None = Field(default=None, exclude_if=absent, description="says which of two answers is better")
    variants: dict[str, Variant] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def read_former_torch_engine(cls, data: Any) -> Any:
        """Until 2026-11-30 `torch` also served text. vLLM serves those variants now, with the same limits."""
        if not isinstance(data, dict) or not isinstance(data.get("variants"), dict):
            return data
        text = data.get("task") == "text-generation"
        variants = {name: with_engine_of_today(variant, text) for name, variant in data["variants"].items()}
        return data | {"variants": variants}

    @model_validator(mode="after")
    def check_variants(self) -> Self:
        if self.keep_requests and self.task not in TEXTS:
            raise ValueError(f"keep_requests: {self.task} reads no texts: leave it out")
        if taken := sorted(set(self.segments) & set(EVERY_MODEL)):
            raise ValueError(f"segments: {taken[0]!r} is one that every model has: choose another name")
        sources = (self.source, *(variant.source for variant in self.variants.values()))
        if data := next((each for each in sources if each and each.kind == "dataset"), None):
            raise ValueError(f"source: {data.uri} is a data set, not a model: it belongs to a task's `data`")
        for name, variant in self.variants.items():
            if not does(variant.engine, self.task):
                fitting = ", ".join(ENGINES[self.task])
                raise ValueError(f"variant {name!r}: engine {variant.engine.kind!r} does no {self.task}: use {fitting}")
            if variant.recipe.kind in ("published", "adapter") and variant.source is None:
                raise ValueError(f"variant {name!r}: kind {variant.recipe.kind} needs a `source` of its own")
            if variant.parent is not None and variant.parent not in self.variants:
                known = ", ".join(self.variants)
                raise ValueError(f"variant {name!r} has the unknown parent {variant.parent!r}: known are {known}")
            if getattr(variant.engine, "adapters", None) and self.task != "text-generation":
                raise ValueError(f"variant {name!r}: no engine takes adapters for {self.task}: leave `adapters` out")
        for named in (*self.traffic.pins.values(), *self.traffic.shadows):
            if named not in self.variants:
                raise ValueError(f"traffic names the unknown variant {named!r}: known are {', '.join(self.variants)}")
        if not any(variant.weight > 0 for variant in self.variants.values()):
            raise ValueError("all weights are zero: give at least one variant a weight above 0")
        return self


def check_harness(field: str, name: str, model: Model) -> None:
    """Raises ValueError where lm-evaluation-harness cannot ask the model's engines."""
    if model.task != "text-generation":
        raise ValueError(f"{field}: evaluate names {name!r}: lm_eval asks text-generation models, not {model.task}")
    other = next((each for each, variant in model.variants.items() if variant.engine.kind != "vllm"), None)
    if other is not None:
        raise ValueError(
            f"{field}: evaluate names {name!r}: lm_eval asks engines of kind vllm, and {other!r} has another"
        )


class Stack(Document):
    """A whole stack file: its server, its own tasks, and its models."""

    schema_: Annotated[Literal[1], exactly(int)] = Field(alias="schema")
    server: Server = Server()
    tasks: Annotated[dict[TaskName, TaskFile], AfterValidator(check_names)] = Field(
        default={}, exclude_if=lambda own: not own, description="tasks of one's own"
    )
    models: dict[str, Model] = Field(min_length=1)

    @model_validator(mode="after")
    def check_evaluate(self) -> Self:
        tasks = self.all_tasks
        for model_name, model in self.models.items():
            kinds = (*EXAMPLES[model.task], *(SCORES if model.task == "text-generation" else ()))
            for name in model.evaluate:
                if tasks.is_harness(name):
                    check_harness(f"models.{model_name}", name, model)
                elif name not in tasks or tasks.kind(name) not in kinds:
                    raise ValueError(
                        f"models.{model_name}: evaluate names {name!r}, no examples for {model.task}: "
                        f"known are {', '.join(tasks.of_kinds(kinds))}"
                    )
        return self

    @model_validator(mode="after")
    def check_judges(self) -> Self:
        for name, judge in ((name, model.judge) for name, model in self.models.items() if model.judge):
            model, _, variant = judge.model.partition("@")
            known = self.models.get(self.aliases.get(model, model))
            if judge.url is None and (known is None or (variant and variant not in known.variants)):
                raise ValueError(f"models.{name}: judge names {judge.model!r}, which this stack does not serve")
            if judge.url is None and known is not None and known.task != "text-generation":
                raise ValueError(f"models.{name}: judge names {judge.model!r}, which generates no text")
        return self

    def as_document(self) -> dict[str, Any]:
        """The document that `serve.config.loader.parse` reads as this stack, without what was left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @property
    def all_tasks(self) -> Tasks:
        """The built-in tasks and those of this file."""
        return Tasks(self.tasks)

    @field_validator("models")
    @classmethod
    def check_names(cls, models: dict[str, Model]) -> dict[str, Model]:
        variants = [variant for model in models.values() for variant in model.variants]
        aliases = [alias for model in models.values() for alias in model.aliases]
        for name in [*models, *variants]:
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a name: use a-z, 0-9, '.', '_', '-', at most 64, no other first")
        for alias in aliases:
            if not ALIAS.fullmatch(alias):
                raise ValueError(f"{alias!r} is not a name: use letters, digits, '.', '_', '-', ':', '/', at most 128")
            if aliases.count(alias) > 1 or alias in models or alias in variants:
                raise ValueError(f"the alias {alias!r} is a second name of something else: give each name once")
        return models

    @property
    def aliases(self) -> dict[str, str]:
        """The model that each alias means."""
        return {alias: name for name, model in self.models.items() for alias in model.aliases}

    def plans(self) -> list[VariantPlan]:
        """A build plan for each variant, in the file's order."""
        tasks = self.all_tasks
        return [
            VariantPlan(
                model=model_name,
                variant=variant_name,
                task=model.task,
                source=variant.source or model.source,
                recipe=variant.recipe,
                parent=variant.parent,
                seed=model.seed,
                tasks=tasks,
                has_own_source=variant.source is not None,
                evaluate=model.evaluate,
            )
            for model_name, model in self.models.items()
            for variant_name, variant in model.variants.items()
        ]
