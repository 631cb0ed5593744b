"""Which cards of the study that is already in the folder still hold, so that a run adds to it and takes none away."""

import sys
from pathlib import Path

from serve.evaluation import settings_of
from serve.judged import Seat, reference_of
from serve.stack import Stack
from serve.study.record import Study, StudyCard, read_study
from variants.errors import InputError
from variants.machine import describe, versions


def earlier_cards(stack: Stack, out: Path) -> dict[Seat, StudyCard]:
    """The cards in `out` that still hold; none where there is no study, and one that cannot be read is said to be left
    out."""
    try:
        return still_holding(read_study(out), stack)
    except FileNotFoundError:
        return {}
    except (OSError, InputError) as error:
        print(f"study: begins anew, for what is there cannot be read: {error}", file=sys.stderr, flush=True)
        return {}


def still_holding(study: Study, stack: Stack) -> dict[Seat, StudyCard]:
    """The cards that were measured here, with what is installed now, of variants that the stack still makes and serves
    so."""
    if study.machine != describe():
        return {}
    now = versions()
    found = {(card.model, card.variant): card for card in study.cards if card.versions == now}
    return {seat: card for seat, card in found.items() if _is_so(stack, seat, card)}


def _is_so(stack: Stack, seat: Seat, card: StudyCard) -> bool:
    """Whether the stack has that variant: of the same source by the same recipe, in engines of the same settings, and
    judged against the same on the same tasks."""
    model = stack.models.get(seat[0])
    if model is None or seat[1] not in model.variants:
        return False
    recipe = model.variants[seat[1]].recipe.model_dump(mode="json", exclude_none=True)
    made = card.recipe == recipe and (card.parent is not None or model.source.uri in card.sources)
    reference = reference_of(stack, seat)
    against = (reference[1], settings_of(stack, reference)) if reference else (None, None)
    judged = (card.engine_settings, card.parent, card.parent_engine) == (settings_of(stack, seat), *against)
    return made and judged and {card.task, *(other.task for other in card.others)} == set(model.evaluate)
