"""Which cards of the study that is already in the folder still hold, so that a run adds to it and takes none away."""

import sys
from pathlib import Path

from serve.config.lineage import VariantRef, reference_of
from serve.config.stack import Stack
from serve.evaluation.evaluate import settings_of
from serve.study.matrix import limit_of
from serve.study.schema import Study, StudyCard, read_study
from variants.build.builder import VariantPlan
from variants.errors import InputError, RecipeError
from variants.machine import describe, versions
from variants.methods.registry import find


def earlier_cards(stack: Stack, out: Path, most: int | None) -> dict[VariantRef, StudyCard]:
    """The cards in `out` that still hold; none where there is no study, and one that cannot be read is said to be left
    out."""
    try:
        return still_holding(read_study(out), stack, most)
    except FileNotFoundError:
        return {}
    except (OSError, InputError) as error:
        print(f"study: begins anew, for what is there cannot be read: {error}", file=sys.stderr, flush=True)
        return {}


def still_holding(study: Study, stack: Stack, most: int | None) -> dict[VariantRef, StudyCard]:
    """The cards that were measured here, with what is installed now, on as many examples as a run of `most` would ask,
    of variants that the stack still makes and serves so."""
    if study.machine != describe():
        return {}
    now, plans = versions(), {plan.name: plan for plan in stack.plans()}
    found = {(card.model, card.variant): card for card in study.cards if card.versions == now}
    return {
        ref: card
        for ref, card in found.items()
        if ref in plans
        and (card.limit or 0) >= limit_of(stack, ref[0], most)
        and _is_made_so(plans[ref], card)
        and _is_judged_so(stack, ref, card)
    }


def _is_made_so(plan: VariantPlan, card: StudyCard) -> bool:
    """Whether its artifact would be made so now, as far as that can be told without its parent: from the same source,
    by the same method in the same version, by the same recipe from the same seed."""
    try:
        method = find(plan.task, plan.recipe, plan.field)
    except RecipeError:  # building says so
        return False
    recipe = plan.recipe.model_dump(mode="json", exclude_none=True)
    made = (card.recipe, card.seed, card.method) == (recipe, plan.seed, f"{method.name}/{method.version}")
    return made and (plan.parent is not None or plan.source.uri in card.sources)


def _is_judged_so(stack: Stack, ref: VariantRef, card: StudyCard) -> bool:
    """Whether it would be judged so now: in engines of the same settings, against the same, on the same tasks, the same
    one first."""
    reference, tasks = reference_of(stack, ref), stack.models[ref[0]].evaluate
    against = (reference[1], settings_of(stack, reference)) if reference else (None, None)
    judged = (card.engine_settings, card.parent, card.parent_engine) == (settings_of(stack, ref), *against)
    measured = {card.task, *(other.task for other in card.others)}
    return judged and card.task == next(iter(tasks), None) and measured == set(tasks)
