"""From plans to artifacts: parents first, each at most once, everything refused that can be refused before any work.

An artifact's key is the digest of what decides its bytes: model and variant, the hashes of its sources and data, the
recipe, the seed, the method's name and version, and its parent's digest. What is already in the store under its key
is verified and used. Nothing here imports torch: a method's module is imported when it runs.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from variants import tasks
from variants.catalog import Catalog
from variants.errors import RecipeError, UnknownName
from variants.machine import versions
from variants.manifest import Manifest, TaskKind
from variants.methods import Job, Made, Method, find
from variants.progress import NoProgress, Progress
from variants.recipe import Chain, LoRA, Prune, Quantize, Recipe, Train
from variants.source import Source, content_sha256, fetch
from variants.store import Artifact, Store, entries

Name = tuple[str, str]
MethodFor = Callable[[str, Recipe, str], Method]


@dataclass(frozen=True)
class VariantPlan:
    """One variant to build: from `source` when it has no `parent`, else from the parent variant of the same model."""

    model: str
    variant: str
    task: TaskKind
    source: Source
    recipe: Recipe
    parent: str | None = None
    seed: int = 0

    @property
    def name(self) -> Name:
        return self.model, self.variant

    @property
    def field(self) -> str:
        """Where the plan stands in a stack file."""
        return f"models.{self.model}.variants.{self.variant}"


def build(
    plans: Sequence[VariantPlan],
    store: Store,
    catalog: Catalog,
    progress: Progress | None = None,
    method_for: MethodFor = find,
) -> dict[Name, Artifact]:
    """Build what is missing, in order, and return the verified artifact of every plan by (model, variant).

    `method_for` gives the method of a task and recipe, and refuses what has none; tests hand in their own.

    RecipeError (no method, a cycle, the same name twice) and UnknownName (a missing parent, an unknown task) come
    before any work; SourceError and IntegrityError when inputs cannot be had or are not what they should be.
    """
    progress = progress or NoProgress()
    order = in_order(plans)
    methods = {plan.name: method_for(plan.task, plan.recipe, f"{plan.field}.recipe") for plan in order}
    data = {plan.name: _data_sources(plan) for plan in order}
    done: dict[Name, Artifact] = {}
    with progress.step("variants", total=len(order)) as step:
        for count, plan in enumerate(order):
            step.to(count)
            parent = done[plan.model, plan.parent] if plan.parent else None
            key = artifact_key(plan, methods[plan.name], data[plan.name], parent, store.home, progress)
            done[plan.name] = _one(plan, key, methods[plan.name], data[plan.name], parent, store, progress)
            catalog.record(done[plan.name].manifest)
    return done


def in_order(plans: Sequence[VariantPlan]) -> list[VariantPlan]:
    """The plans, parents before their variants, otherwise as given. RecipeError for a cycle or a repeated name,
    UnknownName for a parent that is not among the plans."""
    by_name: dict[Name, VariantPlan] = {}
    for plan in plans:
        if plan.name in by_name:
            raise RecipeError("is planned twice", field=plan.field, mend="give each variant one name")
        by_name[plan.name] = plan
    ordered: dict[Name, VariantPlan] = {}
    for plan in plans:
        for ancestor in reversed(_line(plan, by_name)):
            ordered.setdefault(ancestor.name, ancestor)
    return list(ordered.values())


def _line(plan: VariantPlan, by_name: Mapping[Name, VariantPlan]) -> list[VariantPlan]:
    """The plan, its parent, its parent's parent, and so on."""
    line = [plan]
    while (parent := line[-1].parent) is not None:
        child = line[-1]
        if (child.model, parent) not in by_name:
            others = [variant for model, variant in by_name if model == child.model and variant != child.variant]
            raise UnknownName(
                f"parent {parent!r} is not a variant of {child.model}",
                field=f"{child.field}.parent",
                mend=f"one of {', '.join(sorted(others))}" if others else "add the parent",
            )
        line.append(by_name[child.model, parent])
        if line[-1] in line[:-1]:
            names = " -> ".join(step.variant for step in line)
            raise RecipeError(f"parents go in a circle: {names}", field=f"{plan.field}.parent", mend="break it")
    return line


def artifact_key(
    plan: VariantPlan, method: Method, data: Sequence[Source], parent: Artifact | None, home: Path, progress: Progress
) -> str:
    """The key of a plan's artifact, 64 hex digits. Fetches a source only when it is not pinned by its sha256."""
    inputs = {
        "model": plan.model,
        "variant": plan.variant,
        "source": None if parent else content_sha256(plan.source, home, progress),
        "data": sorted(content_sha256(source, home, progress) for source in data),
        "recipe": plan.recipe.digest(),
        "seed": plan.seed,
        "method": [method.name, method.version],
        "parent": parent.manifest.digest if parent else None,
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _data_sources(plan: VariantPlan) -> tuple[Source, ...]:
    """The sources of the tasks that a recipe looks at. UnknownName when there is no such task."""
    steps: Sequence[Recipe] = plan.recipe.steps if isinstance(plan.recipe, Chain) else (plan.recipe,)
    found: dict[str, Source] = {}
    for name in (name for step in steps for name in _tasks_of(step)):
        if name not in tasks.NAMES:
            mend = f"one of {', '.join(tasks.NAMES)}"
            raise UnknownName(f"there is no task {name!r}", field=f"{plan.field}.recipe", mend=mend)
        found |= {source.uri: source for source in tasks.get(name).sources}
    return tuple(found.values())


def _tasks_of(recipe: Recipe) -> tuple[str, ...]:
    if isinstance(recipe, Train | LoRA):
        return (recipe.task,)
    found: tuple[str, ...] = ()
    if isinstance(recipe, Quantize | Prune) and recipe.calibration:
        found = (recipe.calibration.task,)
    if isinstance(recipe, Prune) and recipe.distillation:
        found += recipe.distillation.tasks
    return found


def _one(
    plan: VariantPlan,
    key: str,
    method: Method,
    data: Sequence[Source],
    parent: Artifact | None,
    store: Store,
    progress: Progress,
) -> Artifact:
    """The artifact of one plan: out of the store, or built into it."""
    title = f"{plan.model} {plan.variant}"
    if store.has(key):
        with progress.step(f"{title}: verifying"):
            return store.open(key)
    source = None if parent else fetch(plan.source, store.home, progress)
    with store.staging(key) as folder, progress.step(f"{title}: {method.name}"):
        if store.has(key):  # another builder was faster
            return store.open(key)
        out = folder / "model"
        out.mkdir()
        made = method.run(Job(plan.recipe, plan.seed, source, parent, out, store.home, progress))
        inherited = parent.manifest.sources if parent else (plan.source,)
        return store.keep(folder, _manifest(plan, key, method, made, folder, parent, (*inherited, *data)))


def _manifest(
    plan: VariantPlan,
    key: str,
    method: Method,
    made: Made,
    folder: Path,
    parent: Artifact | None,
    sources: Sequence[Source],
) -> Manifest:
    files = entries(folder)
    served = [f"model/{name}" for name in made.served] or list(files)
    return Manifest(
        key=key,
        digest=Manifest.digest_of_files(files),
        model=plan.model,
        variant=plan.variant,
        task=plan.task,
        method=f"{method.name}/{method.version}",
        precision=made.precision,
        recipe=plan.recipe,
        seed=plan.seed,
        parent=plan.parent,
        parent_digest=parent.manifest.digest if parent else None,
        sources=tuple({source.uri: source for source in sources}.values()),
        files=files,
        bytes=sum(files[name].bytes for name in served),
        versions=versions(("understudy", *made.packages)),
        created=datetime.now(UTC),
        format=made.format,
        labels=made.labels,
        preprocess=made.preprocess,
        note=made.note,
    )
