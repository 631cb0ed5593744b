"""Which cards of the study that is already in the folder still hold, so that a run adds to it and takes none away."""

import sys
from pathlib import Path

from serve.judged import Seat
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
    """Whether the stack has that variant, by the card's recipe and in an engine with its settings."""
    model = stack.models.get(seat[0])
    variant = model.variants.get(seat[1]) if model else None
    if variant is None:
        return False
    recipe = variant.recipe.model_dump(mode="json", exclude_none=True)
    return (card.recipe, card.engine_settings) == (recipe, variant.engine.model_dump(mode="json"))
