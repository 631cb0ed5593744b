"""Builds artifacts from plans: parents first, and each at most once. All checks that need no work come first.

An artifact's key is a digest of everything that decides its bytes. These are the model and variant, the hashes of its
sources and data, the recipe, the seed, the method's name and version, and its parent's digest. An artifact that is in
the store under its key is verified and used. Nothing here imports torch: a method's module is imported when it runs.

After a rollback, a name stays bound to the target of the rollback. If the key of its recipe is in the history already,
`build` returns the bound artifact and reports this. Variants of it are built from the bound artifact. Only a recipe
that was never built takes the name.

When a build ends early, only the current variant is lost: finished artifacts are in the store. An exception, also that
of Ctrl-C, removes the staging folder. SIGKILL leaves it, and the next builder removes it. A method that works file by
file keeps its finished files elsewhere (`BuildJob.unfinished`). After Ctrl-C or SIGKILL the next build goes on there.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from variants.artifacts.adapter import check_ancestry
from variants.artifacts.build_cost import BuildCost, Stopwatch
from variants.artifacts.catalog import Catalog
from variants.artifacts.history import History
from variants.artifacts.loss import Loss
from variants.artifacts.manifest import Format, Manifest, TaskKind
from variants.artifacts.store import Artifact, Store, entries, read_manifest
from variants.build.loss import check, measure
from variants.build.need import check as check_need
from variants.build.training_data import check_tasks, tasks_of
from variants.disk import full_disk_seen, full_disk_told
from variants.errors import IntegrityError, RecipeError, UnderstudyError, UnknownName
from variants.machine import gpus, versions
from variants.methods.registry import BuildJob, Method, MethodResult, find
from variants.progress import NoProgress, Progress
from variants.recipes.recipe import Lossy, Recipe
from variants.recipes.source import Source, content_sha256, fetch, hub_commit
from variants.tasks import BUILT_IN, Tasks

VariantRef = tuple[str, str]
MethodFor = Callable[[str, Recipe, str], Method]


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class VariantPlan:
    """One variant to build: from `source` if it has no `parent`, otherwise from the parent, a variant of the same
    model."""

    model: str
    variant: str
    task: TaskKind
    source: Source
    recipe: Recipe
    parent: str | None = None
    seed: int = 0
    tasks: Tasks = BUILT_IN
    has_own_source: bool = False
    evaluate: tuple[str, ...] = ()
    """The tasks that the model is evaluated on, for the loss of builds whose recipe names no task."""

    @property
    def name(self) -> VariantRef:
        return self.model, self.variant

    @property
    def field(self) -> str:
        """The path of the variant in a stack file."""
        return f"models.{self.model}.variants.{self.variant}"


def build(
    plans: Sequence[VariantPlan],
    store: Store,
    catalog: Catalog,
    progress: Progress | None = None,
    method_for: MethodFor = find,
    say: Callable[[str], None] = tell,
    damaged: dict[VariantRef, IntegrityError] | None = None,
) -> dict[VariantRef, Artifact]:
    """Build the artifacts that are missing. Returns the verified artifact that each name is bound to, by
    (model, variant).

    With `damaged`, a stored artifact that fails its check is returned unverified, and its error is put there: the
    caller must not serve it. Nothing is built from it. If its manifest cannot be read, it has an assumed one.

    `say` gets one line for each new build of a large text model, with the memory and disk that it needs. It gets one
    for each new build that may lose something, with its loss on calibration examples, and one for each name that a
    rollback keeps at another build than the planned one. `method_for` gives the method of a task and recipe.

    Before any work: RecipeError for a recipe without a method, a wrong or missing parent, a cycle, a repeated name, or
    an unsuitable task. UnknownName for a parent that is not planned, or an unknown task. Later: SourceError when an
    input is unavailable, IntegrityError when bytes do not match their hash, StoreFull when the disk is full.
    RecipeError also when a build needs more memory than there is, or lost more than its recipe's `most_loss`.
    """
    progress = progress or NoProgress()
    order = in_order(plans)
    by_name = {plan.name: plan for plan in order}
    methods = {plan.name: _method(plan, method_for) for plan in order}
    for plan in order:
        check_ancestry([each.recipe for each in _ancestry(plan, by_name)], plan.field)
        data_sources(plan)
    done: dict[VariantRef, Artifact] = {}
    # Every artifact is held to the end, so that a garbage collection in between does not remove one.
    with full_disk_told(store.home), ExitStack() as held, progress.step("variants", total=len(order)) as step:
        for count, plan in enumerate(order):
            step.to(count)
            parent = done[plan.model, plan.parent] if plan.parent else None
            base = base_of(plan, done, by_name)
            with _full_fields(plan):
                key = artifact_key(plan, methods[plan.name], parent, base, store.home, progress)
            held.enter_context(store.hold(key))
            bound = catalog.kept_back(plan.model, plan.variant, key)
            if bound is None:
                with _full_fields(plan):
                    if plan.parent and not store.has(key) and (why := (damaged or {}).get((plan.model, plan.parent))):
                        raise why
                    job = plan, key, methods[plan.name], parent
                    if store.occupied(key, damaged is not None):
                        with progress.step(f"{plan.model} {plan.variant}: verifying"):
                            made = _open(*job, store, catalog, damaged)
                    else:
                        made = _build(*job, base, store, progress, say)
                    check(plan.recipe, made.manifest.loss, "recipe")
                bound = catalog.record(made.manifest)
            if bound.key != key:
                say(_rollback_notice(plan, catalog.model(plan.model).history(plan.variant), key))
                held.enter_context(store.hold(bound.key))
                made = _open(plan, bound.key, methods[plan.name], parent, store, catalog, damaged)
            done[plan.name] = made
    return done


@contextmanager
def _full_fields(plan: VariantPlan) -> Iterator[None]:
    """Inside, an error's `field` becomes a path in the stack file. Methods and sources know only the part below the
    variant or model."""
    try:
        yield
    except UnderstudyError as error:
        first = (error.field or "").partition(".")[0]
        if first in ("recipe", "parent"):
            error.field = f"{plan.field}.{error.field}"
        elif first == "source":
            error.field = f"{plan.field if plan.has_own_source else f'models.{plan.model}'}.{error.field}"
        raise


def _rollback_notice(plan: VariantPlan, history: History, key: str) -> str:
    name, newer = f"{plan.model}@{plan.variant}", next(binding for binding in reversed(history) if binding.key == key)
    return (
        f"{name} was rolled back and stays at {history[-1].digest[:8]}; its recipe makes {newer.digest[:8]}: "
        f"understudy rollback {name} {newer.digest[:8]} goes forward again"
    )


def base_of(
    plan: VariantPlan, done: Mapping[VariantRef, Artifact], by_name: Mapping[VariantRef, VariantPlan]
) -> Artifact | None:
    """The artifact that an adapter was trained on, if the plan's parent is one; None for any other parent."""
    if plan.parent is None or done[plan.model, plan.parent].manifest.format != "adapter":
        return None
    below = by_name[plan.model, plan.parent].parent
    return done[plan.model, below] if below else None


def _method(plan: VariantPlan, method_for: MethodFor) -> Method:
    """The plan's method. RecipeError when it needs another start (source or parent), or a GPU that is not here."""
    method = method_for(plan.task, plan.recipe, f"{plan.field}.recipe")
    if method.starts_from in ("parent", "both") and plan.parent is None:
        raise RecipeError(f"{method.name} needs a parent", field=f"{plan.field}.parent", mend="name the variant")
    if method.starts_from == "source" and plan.parent is not None:
        mend = "leave the parent out"
        raise RecipeError(f"{method.name} starts from the model's source", field=f"{plan.field}.parent", mend=mend)
    if method.capability and not any((gpu.capability or 0) >= method.capability for gpu in gpus()):
        here = ", ".join(f"{gpu.name} ({gpu.capability})" for gpu in gpus()) or "none"
        raise RecipeError(
            f"{method.name} needs an NVIDIA GPU of compute capability {method.capability} or more; here: {here}",
            field=f"{plan.field}.recipe",
            mend="build it where it is to be served, or take int8 (w8a8)",
        )
    return method


def in_order(plans: Sequence[VariantPlan]) -> list[VariantPlan]:
    """The plans in the given order, but with parents before their variants. RecipeError for a cycle or a repeated
    name, UnknownName for a parent that is not among the plans."""
    by_name: dict[VariantRef, VariantPlan] = {}
    for plan in plans:
        if plan.name in by_name:
            raise RecipeError("is planned twice", field=plan.field, mend="give each variant one name")
        by_name[plan.name] = plan
    ordered: dict[VariantRef, VariantPlan] = {}
    for plan in plans:
        for ancestor in reversed(_ancestry(plan, by_name)):
            ordered.setdefault(ancestor.name, ancestor)
    return list(ordered.values())


def _ancestry(plan: VariantPlan, by_name: Mapping[VariantRef, VariantPlan]) -> list[VariantPlan]:
    """The plan, its parent, its parent's parent, and so on. Errors as for `in_order`."""
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
            raise RecipeError(f"parents form a cycle: {names}", field=f"{plan.field}.parent", mend="change one")
    return line


def artifact_key(
    plan: VariantPlan,
    method: Method,
    parent: Artifact | None,
    base: Artifact | None,
    home: Path,
    progress: Progress,
) -> str:
    """The key of a plan's artifact, 64 hex digits. Fetches only the sources that have no sha256. `base` is the artifact
    of `base_of`."""
    recipe = plan.recipe.of_bytes() if isinstance(plan.recipe, Lossy) else plan.recipe
    inputs = {
        "model": plan.model,
        "variant": plan.variant,
        "source": None if parent and method.starts_from != "both" else content_sha256(plan.source, home, progress),
        "data": sorted(content_sha256(source, home, progress) for source in data_sources(plan)),
        "recipe": recipe.canonical_sha256(),
        "seed": plan.seed,
        "method": [method.name, method.version],
        "parent": parent.manifest.digest if parent else None,
    } | ({"base": base.manifest.digest} if base else {})
    if defined := definitions(plan):
        inputs["tasks"] = defined
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def commits_of(sources: Sequence[Source], parent: Artifact | None, home: Path) -> dict[str, str]:
    """The commit of each source from the hub, by its uri. Those of the parent's are what the parent was built from."""
    here = {source.uri: hub_commit(source, home) for source in sources}
    before = parent.manifest.commits if parent else {}
    return {uri: commit for uri, commit in here.items() if commit} | before


def data_sources(plan: VariantPlan) -> list[Source]:
    """The sources of the tasks that a recipe names, each once. Errors as for `check_tasks`."""
    check_tasks(plan.task, plan.recipe, f"{plan.field}.recipe", plan.tasks)
    sources = {source.uri: source for name in tasks_of(plan.recipe) for source in plan.tasks.get(name).sources}
    return list(sources.values())


def definitions(plan: VariantPlan) -> list[str]:
    """The sha256 of each task definition of a user's that a recipe names."""
    named = (plan.tasks.get(name).definition_sha256 for name in tasks_of(plan.recipe))
    return sorted(sha256 for sha256 in named if sha256)


def _open(
    plan: VariantPlan,
    key: str,
    method: Method,
    parent: Artifact | None,
    store: Store,
    catalog: Catalog,
    damaged: dict[VariantRef, IntegrityError] | None,
) -> Artifact:
    """The verified artifact. With `damaged`, also one that is damaged, if the catalog knows its digest."""
    try:
        return store.open(key) if store.has(key) else Artifact(store.path(key), read_manifest(store.path(key)))
    except IntegrityError as error:
        digest = _known_digest(catalog, plan, key)
        if damaged is None or digest is None:
            raise
        damaged[plan.name] = error
    with suppress(IntegrityError):
        manifest = read_manifest(store.path(key))
        if (manifest.key, manifest.digest) == (key, digest):
            return Artifact(store.path(key), manifest)
    return Artifact(store.path(key), _assumed_manifest(plan, key, digest, method, parent))


def _known_digest(catalog: Catalog, plan: VariantPlan, key: str) -> str | None:
    """The digest of the artifact of `key`, if it was ever built for this variant."""
    if plan.model not in catalog.models():
        return None
    history = catalog.model(plan.model).variants.get(plan.variant, ())
    return next((binding.digest for binding in reversed(history) if binding.key == key), None)


def _assumed_manifest(plan: VariantPlan, key: str, digest: str, method: Method, parent: Artifact | None) -> Manifest:
    """The manifest as far as the plan tells: without files, labels and the precision that was made. It is enough for
    variants that are made from this one, and to say what is down. The artifact must be verified before it is served."""
    is_adapter = plan.task == "text-generation" and plan.recipe.kind in ("lora", "adapter")
    form: Format = "adapter" if is_adapter else "huggingface"
    return Manifest.model_construct(
        schema_=2, key=key, digest=digest, model=plan.model, variant=plan.variant, task=plan.task,
        method=f"{method.name}/{method.version}", precision="f32", recipe=plan.recipe, seed=plan.seed,
        parent=plan.parent, parent_digest=parent.manifest.digest if parent else None, sources=(), files={}, bytes=0,
        versions={}, created=datetime.now(UTC), format=form,
        labels=None, preprocess=None, note="its manifest cannot be read", detector=None, effort=None,
    )  # fmt: skip


def _build(
    plan: VariantPlan,
    key: str,
    method: Method,
    parent: Artifact | None,
    base: Artifact | None,
    store: Store,
    progress: Progress,
    say: Callable[[str], None],
) -> Artifact:
    """The artifact of one plan, newly built. RecipeError and StoreFull, before the method's work, where memory or disk
    are too little."""
    title = f"{plan.model} {plan.variant}"
    own_source = parent is None or method.starts_from == "both"
    source = fetch(plan.source, store.home, progress) if own_source else None
    origin = parent.model_path if parent else source
    assert origin is not None
    with store.staging(key) as folder, progress.step(f"{title}: {method.name}"):
        if store.has(key):  # another builder was faster
            return store.open(key)
        out = folder / "model"
        out.mkdir()
        if needs := check_need(plan.task, plan.recipe, origin, out, store.unfinished_bytes(key)):
            say(f"{plan.model}@{plan.variant}: {needs}")
        with store.unfinished(key) as unfinished:
            job = BuildJob(
                plan.recipe, plan.seed, source, parent, out, store.home, progress, base, plan.tasks, plan.evaluate,
                unfinished,
            )  # fmt: skip
            made, loss, cost = _run(plan, method, job, say)
            files = entries(folder)
            served = [f"model/{name}" for name in made.served] or list(files)
            sources = _sources(plan, parent, own_source)
            manifest = Manifest(
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
                sources=sources,
                files=files,
                bytes=sum(files[name].bytes for name in served),
                versions=versions(("understudy", *made.packages)),
                created=datetime.now(UTC),
                format=made.format,
                labels=made.labels,
                preprocess=made.preprocess,
                note=made.note,
                detector=made.detector,
                effort=cost,
                commits=commits_of(sources, parent, store.home),
                loss=loss,
            )
            return store.keep(folder, manifest)


def _sources(plan: VariantPlan, parent: Artifact | None, own: bool) -> tuple[Source, ...]:
    """What an artifact was made from, each once: its parent's sources, its `own` and its data."""
    before = parent.manifest.sources if parent else ()
    sources = (*before, *((plan.source,) if own else ()), *data_sources(plan))
    return tuple({source.uri: source for source in sources}.values())


def _run(
    plan: VariantPlan, method: Method, job: BuildJob, say: Callable[[str], None]
) -> tuple[MethodResult, Loss | None, BuildCost]:
    """What the method made, what it lost, and what it cost. `say` gets what it lost. RecipeError where that is too
    much."""
    stopwatch = Stopwatch()
    with full_disk_seen(job.out):
        made = method.run(job)
    cost = stopwatch.cost()
    loss, told = measure(plan.task, job, made)
    check(plan.recipe, loss, "recipe")
    if told:
        say(f"{plan.model}@{plan.variant}: {told}")
    return made, loss, cost
