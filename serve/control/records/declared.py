"""Rollouts that a stack file declares: `models.MODEL.rollout` is a plan, as `understudy rollout start` sends one.

It begins once the stack is served and both variants answer, unless the same plan was run before for the same artifacts.
A rollout that is open is left alone; the declared one begins after it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

from serve.config.snapshot import Snapshot
from serve.config.stack import Stack
from serve.control.records.history import History, Record
from serve.control.rollout import RolloutPlan, read_plan
from serve.errors import NotReady
from variants.errors import InputError, StackError, StoreFull, UnderstudyError

log = logging.getLogger("understudy.traffic")
WHO = "stack"
Begin = Callable[[str, dict[str, Any], str], Awaitable[Any]]
"""Begins a rollout of a model by a document, for somebody."""


class Declared(NamedTuple):
    """A declared plan. `before` is the rollout that has run it for the same artifacts."""

    model: str
    plan: RolloutPlan
    digests: list[str]
    before: Record | None

    @property
    def document(self) -> dict[str, Any]:
        return self.plan.model_dump(mode="json")


def plan_of(stack: Stack, model: str) -> tuple[RolloutPlan, str] | None:
    """The declared plan of a model and the variant's parent. Raises StackError naming the field."""
    document = stack.models[model].rollout
    if document is None:
        return None
    try:
        return read_plan(document, stack.models[model], model)
    except InputError as error:
        field = f"models.{model}.rollout" + (f".{error.field}" if error.field else "")
        raise StackError(error.message, field=field, mend=error.mend) from None


def check_declared(stack: Stack) -> None:
    """Raises StackError for a declared rollout that cannot be begun as it is written."""
    for model in stack.models:
        plan_of(stack, model)


def declared(snapshot: Snapshot, history: History) -> Iterator[Declared]:
    """Every rollout that the stack of a snapshot declares."""
    for model in snapshot.stack.models:
        if read := plan_of(snapshot.stack, model):
            plan, parent = read
            digests = [snapshot.variants[model, name].manifest.digest for name in (parent, plan.compared(parent))]
            document = plan.model_dump(mode="json")
            same = (record for record in history.of(model) if (record.digests, record.plan) == (digests, document))
            yield Declared(model, plan, digests, next(same, None))


def describe_declared(snapshot: Snapshot, history: History) -> list[dict[str, Any]]:
    """For the answer to a proposal: what a stack declares, and whether it begins."""
    return [
        {
            "model": each.model,
            "variant": each.plan.variant,
            "steps": list(each.plan.steps),
            "begins": each.before is None,
            "before": each.before and {"id": each.before.id, "status": each.before.status},
        }
        for each in declared(snapshot, history)
    ]


class DeclaredRollouts:
    """Begins declared rollouts beside the controller's other work. What was refused is tried again only after a change
    of the plan or the artifacts."""

    def __init__(self, begin: Begin) -> None:
        self.begin = begin
        self.task: asyncio.Task[None] | None = None
        self.refused: dict[str, Declared] = {}

    def begin_due(self, snapshot: Snapshot, history: History) -> None:
        """Begin those that have not run, unless some are being begun."""
        if self.task is not None and not self.task.done():
            return
        try:
            due = [each for each in declared(snapshot, history) if self.is_due(each, history)]
        except StackError:  # it was checked when the stack was read; verdicts must go on in any case
            log.exception("the declared rollouts cannot be read")
            return
        if due:
            self.task = asyncio.create_task(self.begin_all(due))

    def is_due(self, each: Declared, history: History) -> bool:
        latest = history.latest(each.model)
        waits = latest is not None and latest.open
        return each.before is None and not waits and self.refused.get(each.model) != each

    async def begin_all(self, due: list[Declared]) -> None:
        for each in due:
            try:
                await self.begin(each.model, each.document, WHO)
            except (NotReady, StoreFull) as error:
                log.debug("the declared rollout of %s waits: %s", each.model, error)
            except UnderstudyError as error:
                self.refused[each.model] = each
                log.warning("the declared rollout of %s is refused: %s", each.model, error, extra={"model": each.model})
