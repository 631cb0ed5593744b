"""Finds the cards of an earlier study that are still valid, so that a new run keeps them."""

import sys
from pathlib import Path

from serve.config.lineage import VariantRef, reference_of
from serve.config.stack import Stack
from serve.evaluation.evaluate import settings_of
from serve.study.matrix import limit_of
from serve.study.schema import Study, StudyCard, read_study
from variants.build.builder import VariantPlan
from variants.errors import InputError, PluginError, RecipeError
from variants.machine import describe, versions
from variants.methods.registry import find


def earlier_cards(stack: Stack, out: Path, most: int | None) -> dict[VariantRef, StudyCard]:
    """The valid cards in `out`; none if there is no study. An unreadable study is left out with a message."""
    try:
        return still_valid(read_study(out), stack, most)
    except FileNotFoundError:
        return {}
    except (OSError, InputError) as error:
        print(f"study: starts anew, cannot read the earlier one: {error}", file=sys.stderr, flush=True)
        return {}


def still_valid(study: Study, stack: Stack, most: int | None) -> dict[VariantRef, StudyCard]:
    """The cards of variants that the stack still makes and serves in the same way. They must be measured on this
    machine, with the installed versions, and on at least as many examples as a run with `most` would ask."""
    if study.machine != describe():
        return {}
    now, plans = versions(), {plan.name: plan for plan in stack.plans()}
    cards = {(card.model, card.variant): card for card in study.cards if card.versions == now}
    return {
        ref: card
        for ref, card in cards.items()
        if ref in plans
        and (card.limit or 0) >= limit_of(stack, ref[0], most)
        and _has_same_artifact(plans[ref], card)
        and _has_same_comparison(stack, ref, card)
    }


def _has_same_artifact(plan: VariantPlan, card: StudyCard) -> bool:
    """Whether the same artifact would be made now, apart from its parent: from the same source, by the same version of
    the method, with the same recipe and seed."""
    try:
        method = find(plan.task, plan.recipe, plan.field)
    except (PluginError, RecipeError):  # building reports it
        return False
    recipe = plan.recipe.model_dump(mode="json", exclude_none=True)
    made = (card.recipe, card.seed, card.method) == (recipe, plan.seed, f"{method.name}/{method.version}")
    return made and (plan.parent is not None or plan.source.uri in card.sources)


def _has_same_comparison(stack: Stack, ref: VariantRef, card: StudyCard) -> bool:
    """Whether it would be compared in the same way now: with engines of the same settings, with the same parent, on the
    same tasks, the same one first."""
    reference, tasks = reference_of(stack, ref), stack.models[ref[0]].evaluate
    against = (reference[1], settings_of(stack, reference)) if reference else (None, None)
    same = (card.engine_settings, card.parent, card.parent_engine) == (settings_of(stack, ref), *against)
    measured = {card.task, *(other.task for other in card.others)}
    return same and card.task == next(iter(tasks), None) and measured == set(tasks)
