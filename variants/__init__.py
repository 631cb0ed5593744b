"""Builds and judges variants: sources, recipes, artifacts, cards, evidence. Imports neither HTTP libraries nor Ray.

What is public is in `__all__`, and is imported when it is first used. All other modules may change.

    VariantPlan, build_plans, Source            what to build, and the builder: artifacts by (model, variant)
    Store, Catalog, Artifact, Manifest, Card    what was built and measured, below `variants.home.home()`
    Task, Tasks, TaskFile, Example              labelled examples
    Outcome, differences, agreement             single answers, and two variants compared example by example
    MethodPlugin, BuildJob, MethodResult        methods of other packages (docs/plugins.md)
    Document, UnderstudyError                   the base of typed documents, and of errors
"""

from typing import TYPE_CHECKING

from variants.lazy import lazy
from variants.telemetry import no_reports

if TYPE_CHECKING:
    from variants.artifacts.card import Card as Card
    from variants.artifacts.catalog import Catalog as Catalog
    from variants.artifacts.manifest import Manifest as Manifest
    from variants.artifacts.store import Artifact as Artifact
    from variants.artifacts.store import Store as Store
    from variants.build.builder import VariantPlan as VariantPlan
    from variants.build.builder import build as build_plans
    from variants.document import Document as Document
    from variants.errors import UnderstudyError as UnderstudyError
    from variants.evaluation.paired import agreement as agreement
    from variants.evaluation.paired import differences as differences
    from variants.methods.base import BuildJob as BuildJob
    from variants.methods.base import MethodResult as MethodResult
    from variants.methods.plugin import MethodPlugin as MethodPlugin
    from variants.metrics.outcome import Outcome as Outcome
    from variants.recipes.source import Source as Source
    from variants.tasks import Tasks as Tasks
    from variants.tasks.base import Example as Example
    from variants.tasks.base import Task as Task
    from variants.tasks.task_file import TaskFile as TaskFile

no_reports()

__all__ = [
    "Artifact",
    "BuildJob",
    "Card",
    "Catalog",
    "Document",
    "Example",
    "Manifest",
    "MethodPlugin",
    "MethodResult",
    "Outcome",
    "Source",
    "Store",
    "Task",
    "TaskFile",
    "Tasks",
    "UnderstudyError",
    "VariantPlan",
    "agreement",
    "build_plans",
    "differences",
]

__getattr__ = lazy(
    __name__,
    {
        "Artifact": "variants.artifacts.store:Artifact",
        "BuildJob": "variants.methods.base:BuildJob",
        "Card": "variants.artifacts.card:Card",
        "Catalog": "variants.artifacts.catalog:Catalog",
        "Document": "variants.document:Document",
        "Example": "variants.tasks.base:Example",
        "Manifest": "variants.artifacts.manifest:Manifest",
        "MethodPlugin": "variants.methods.plugin:MethodPlugin",
        "MethodResult": "variants.methods.base:MethodResult",
        "Outcome": "variants.metrics.outcome:Outcome",
        "Source": "variants.recipes.source:Source",
        "Store": "variants.artifacts.store:Store",
        "Task": "variants.tasks.base:Task",
        "TaskFile": "variants.tasks.task_file:TaskFile",
        "Tasks": "variants.tasks:Tasks",
        "UnderstudyError": "variants.errors:UnderstudyError",
        "VariantPlan": "variants.build.builder:VariantPlan",
        "agreement": "variants.evaluation.paired:agreement",
        "build_plans": "variants.build.builder:build",
        "differences": "variants.evaluation.paired:differences",
    },
)
