"""The snapshot: one version of what is served, with the artifact and the engine of every variant. Pure, without Ray.

Several variants may share an engine. An engine is identified by the artifact it loads at start and by its settings. The
engine of an adapter loads the parent's artifact with the adapter's settings. So adapters of one parent with equal
settings share one process. A parent with the same settings, `adapters` included, is served by that process too.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from serve.config.capabilities import Capabilities, capabilities_of, with_context
from serve.config.lineage import VariantRef
from serve.config.resources import NOTHING
from serve.config.segment import Segment
from serve.config.stack import Adapters, Engine, Limits, ScriptedEngine, Stack, VllmEngine
from serve.config.traffic import Versioned, merged
from variants.artifacts.adapter import check_adapter
from variants.artifacts.manifest import Manifest
from variants.artifacts.store import Artifact
from variants.errors import StackError


@dataclass(frozen=True)
class EngineSpec:
    """One engine process: the artifact that it loads at start, its settings, and its model name.

    `application` is its name, and that of its Ray Serve application if it has one of its own. Equal engines have equal
    names. `traces` is where it sends spans, empty for nowhere. It takes effect when the engine starts.
    """

    application: str
    settings: Engine
    artifact: Artifact
    name: str
    traces: str = field(default="", compare=False)

    @property
    def slots(self) -> int:
        """How many adapters it can load."""
        adapters: Adapters | None = getattr(self.settings, "adapters", None)
        return adapters.slots if adapters else 0

    @property
    def shares_deployment(self) -> bool:
        """Whether it reserves nothing of Ray, and so needs no deployment of its own."""
        return self.settings.resources == NOTHING


@dataclass(frozen=True)
class LoadedAdapter:
    """A low-rank adapter in a running engine: its model name there, and its folder."""

    name: str
    folder: str


@dataclass(frozen=True)
class ServedVariant:
    model: str
    variant: str
    weight: float
    limits: Limits
    manifest: Manifest
    engine: EngineSpec
    capabilities: Capabilities
    adapter: LoadedAdapter | None = None

    @property
    def name(self) -> str:
        return f"{self.model}@{self.variant}"

    @property
    def asked_as(self) -> str:
        """The model name for requests to its engine."""
        return self.adapter.name if self.adapter else self.engine.name

    @property
    def place(self) -> str:
        """Its engine and model name there. Equal in two snapshots exactly if the same weights answer."""
        return f"{self.engine.application}/{self.asked_as}"


@dataclass(frozen=True)
class Judged:
    """What an ingress counts of a model with an open rollout: latencies against `objective_s`, None without one, in
    blocks of `block_s` seconds, and pairs by segment. `arms` are the digests of the parent and the variant. `aa` is the
    shadow variant in whose place the parent is compared with itself, None in other rollouts."""

    objective_s: float | None
    block_s: float = 60.0
    segments: Mapping[str, Segment] = field(default_factory=dict)
    arms: tuple[str, str] | None = None
    aa: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """One version of everything that is served. Versions only grow."""

    version: int
    stack: Stack
    artifacts: Mapping[VariantRef, Artifact]
    variants: Mapping[VariantRef, ServedVariant]
    traffic: Mapping[str, Versioned]
    judged: Mapping[str, Judged] = field(default_factory=dict)
    """Models with an open rollout."""

    @property
    def engines(self) -> dict[str, EngineSpec]:
        """The needed engines, by application."""
        return {variant.engine.application: variant.engine for variant in self.variants.values()}

    @property
    def adapters(self) -> dict[str, frozenset[str]]:
        """The names of the needed adapters, by application of every engine that can load adapters."""
        needed: dict[str, set[str]] = {name: set() for name, engine in self.engines.items() if engine.slots}
        for variant in self.variants.values():
            if variant.adapter:
                needed[variant.engine.application].add(variant.adapter.name)
        return {application: frozenset(names) for application, names in needed.items()}


def build_snapshot(
    stack: Stack,
    artifacts: Mapping[VariantRef, Artifact],
    version: int = 1,
    traffic: Mapping[str, Versioned] | None = None,
) -> Snapshot:
    """Assign an engine to every variant. The earlier `traffic` stays if the stack's declaration is unchanged.

    Raises StackError for an adapter whose engine takes no adapters or has too few slots, or whose parent is another
    build, and for a context above the model's positions. Raises RecipeError and IntegrityError of
    `variants.artifacts.adapter`."""
    now = merged(stack, traffic or {})
    variants = {
        (model, variant): served_variant(stack, artifacts, (model, variant), now[model].traffic.weights[variant])
        for model in stack.models
        for variant in stack.models[model].variants
    }
    snapshot = Snapshot(version, stack, artifacts, variants, now)
    adapters = snapshot.adapters
    for variant in variants.values():
        count, slots = len(adapters.get(variant.engine.application, ())), variant.engine.slots
        if variant.adapter and count > slots:
            raise StackError(
                f"{count} adapters share an engine that has {slots} slots",
                field=f"models.{variant.model}.variants.{variant.variant}.engine.adapters.slots",
                mend=f"slots: {count}, or other settings for some of them, which start another engine",
            )
    return snapshot


def with_traffic(
    snapshot: Snapshot, traffic: Mapping[str, Versioned], judged: Mapping[str, Judged], version: int
) -> Snapshot:
    """The same variants with other traffic."""
    variants = {
        ref: replace(variant, weight=traffic[ref[0]].traffic.weights[ref[1]])
        for ref, variant in snapshot.variants.items()
    }
    return replace(snapshot, version=version, variants=variants, traffic=dict(traffic), judged=judged)


def served_variant(
    stack: Stack, artifacts: Mapping[VariantRef, Artifact], name: VariantRef, weight: float
) -> ServedVariant:
    model, variant = stack.models[name[0]], stack.models[name[0]].variants[name[1]]
    artifact = artifacts[name]
    adapter, base = None, artifact
    if artifact.manifest.format == "adapter":
        field = f"models.{name[0]}.variants.{name[1]}"
        if not (isinstance(variant.engine, VllmEngine | ScriptedEngine) and variant.engine.adapters):
            raise StackError(
                "an adapter needs an engine with adapter slots", field=f"{field}.engine", mend="adapters: {slots: 4}"
            )
        assert variant.parent is not None  # the stack file and the recipe's method check this
        base = artifacts[name[0], variant.parent]
        if isinstance(variant.engine, VllmEngine):
            check_adapter(artifact, base.manifest, variant.engine.adapters.rank, variant.engine.adapters.modules)
        elif artifact.manifest.parent_digest != base.manifest.digest:
            raise StackError(
                f"the adapter was made for build {(artifact.manifest.parent_digest or '')[:8]} of {variant.parent}, "
                f"but the stack serves build {base.manifest.digest[:8]}",
                field=field,
                mend="build the adapter again",
            )
        adapter = LoadedAdapter(f"{name[0]}@{name[1]}:{artifact.manifest.digest[:8]}", str(artifact.model_path))
    engine = with_context(variant.engine, base.model_path, f"models.{name[0]}.variants.{name[1]}")
    return ServedVariant(
        model=name[0],
        variant=name[1],
        weight=weight,
        limits=model.limits,
        manifest=artifact.manifest,
        engine=engine_spec(name[0], base, engine, traces.endpoint if (traces := stack.server.traces) else ""),
        capabilities=capabilities_of(engine, model.task, base.model_path),
        adapter=adapter,
    )


def engine_spec(model: str, artifact: Artifact, settings: Engine, traces: str) -> EngineSpec:
    variant, digest = artifact.manifest.variant, artifact.manifest.digest
    how = hashlib.sha256(settings.model_dump_json().encode()).hexdigest()
    return EngineSpec(f"{model}.{variant}.{digest[:8]}.{how[:8]}", settings, artifact, f"{model}@{variant}", traces)
