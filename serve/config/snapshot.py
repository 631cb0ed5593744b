"""What is live: one version of a stack, with the artifact and the engine of every variant. Pure, and knows no Ray.

Several variants may share an engine. An engine is told apart by what it loads when it starts and by its settings, so an
adapter's engine is its parent's artifact under the adapter's own settings: adapters of one parent with equal settings
meet in one process, and a parent whose settings say `adapters` too is served by that process as well.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from serve.config.stack import Adapters, Engine, Limits, ScriptedEngine, Stack, TorchEngine, VllmEngine
from serve.config.traffic import Versioned, merged
from variants.artifacts.adapter import check_adapter
from variants.artifacts.manifest import Manifest
from variants.artifacts.store import Artifact
from variants.errors import StackError

VariantRef = tuple[str, str]
"""A model and one of its variants."""


@dataclass(frozen=True)
class EngineSpec:
    """One engine process: the artifact that it loads when it starts, its settings, and the model name it answers to.

    `application` names the Ray Serve application that hosts it; equal engines have equal names.
    """

    application: str
    settings: Engine
    artifact: Artifact
    name: str

    @property
    def slots(self) -> int:
        """How many adapters it has room for."""
        adapters: Adapters | None = getattr(self.settings, "adapters", None)
        return adapters.slots if adapters else 0


@dataclass(frozen=True)
class LoadedAdapter:
    """A low-rank adapter that is loaded into a running engine: the model name it gets there, and its folder."""

    name: str
    folder: str


@dataclass(frozen=True)
class ServedVariant:
    """One variant as it is served."""

    model: str
    variant: str
    weight: float
    limits: Limits
    manifest: Manifest
    engine: EngineSpec
    adapter: LoadedAdapter | None = None

    @property
    def name(self) -> str:
        return f"{self.model}@{self.variant}"

    @property
    def asked_as(self) -> str:
        """The model name by which its engine knows it."""
        return self.adapter.name if self.adapter else self.engine.name

    @property
    def place(self) -> str:
        """Where it runs: equal for two versions of a variant exactly when the same weights answer for both."""
        return f"{self.engine.application}/{self.asked_as}"


@dataclass(frozen=True)
class Snapshot:
    """A version of all that is served; versions only grow."""

    version: int
    stack: Stack
    artifacts: Mapping[VariantRef, Artifact]
    variants: Mapping[VariantRef, ServedVariant]
    traffic: Mapping[str, Versioned]
    judged: Mapping[str, float | None] = field(default_factory=dict)
    """Models whose variants are being judged, with the latency objective in seconds, None where there is none."""

    @property
    def engines(self) -> dict[str, EngineSpec]:
        """The engines that are needed, by application."""
        return {variant.engine.application: variant.engine for variant in self.variants.values()}

    @property
    def adapters(self) -> dict[str, frozenset[str]]:
        """The names of the adapters that are needed, by application, of engines that take any."""
        found: dict[str, set[str]] = {name: set() for name, engine in self.engines.items() if engine.slots}
        for variant in self.variants.values():
            if variant.adapter:
                found[variant.engine.application].add(variant.adapter.name)
        return {application: frozenset(names) for application, names in found.items()}


def build_snapshot(
    stack: Stack,
    artifacts: Mapping[VariantRef, Artifact],
    version: int = 1,
    traffic: Mapping[str, Versioned] | None = None,
) -> Snapshot:
    """Which engine serves what. `traffic` was in force before, and stays where the stack declares what it declared
    then. StackError for an adapter whose engine takes none, or not so many, or whose parent is another build;
    RecipeError and IntegrityError as `variants.artifacts.adapter` has them."""
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
                f"{count} adapters share an engine that has room for {slots}",
                field=f"models.{variant.model}.variants.{variant.variant}.engine.adapters.slots",
                mend=f"slots: {count}, or other settings for some, which start another engine",
            )
    return snapshot


def with_traffic(
    snapshot: Snapshot, traffic: Mapping[str, Versioned], judged: Mapping[str, float | None], version: int
) -> Snapshot:
    """The same variants under other traffic."""
    variants = {
        name: replace(found, weight=traffic[name[0]].traffic.weights[name[1]])
        for name, found in snapshot.variants.items()
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
        if not (isinstance(variant.engine, VllmEngine | TorchEngine | ScriptedEngine) and variant.engine.adapters):
            raise StackError(
                "an adapter needs an engine that takes adapters", field=f"{field}.engine", mend="adapters: {slots: 4}"
            )
        assert variant.parent is not None  # the stack file and the recipe's method see to it
        base = artifacts[name[0], variant.parent]
        if isinstance(variant.engine, VllmEngine | TorchEngine):
            check_adapter(artifact, base.manifest, variant.engine.adapters.rank, variant.engine.adapters.modules)
        elif artifact.manifest.parent_digest != base.manifest.digest:
            raise StackError(
                f"the adapter was made for build {(artifact.manifest.parent_digest or '')[:8]} of {variant.parent}, "
                f"and {base.manifest.digest[:8]} is to be served",
                field=field,
                mend="build it again from that parent",
            )
        adapter = LoadedAdapter(f"{name[0]}@{name[1]}:{artifact.manifest.digest[:8]}", str(artifact.model_path))
    return ServedVariant(
        model=name[0],
        variant=name[1],
        weight=weight,
        limits=model.limits,
        manifest=artifact.manifest,
        engine=engine_spec(name[0], base, variant.engine),
        adapter=adapter,
    )


def engine_spec(model: str, artifact: Artifact, settings: Engine) -> EngineSpec:
    variant, digest = artifact.manifest.variant, artifact.manifest.digest
    how = hashlib.sha256(settings.model_dump_json().encode()).hexdigest()
    return EngineSpec(f"{model}.{variant}.{digest[:8]}.{how[:8]}", settings, artifact, f"{model}@{variant}")
