"""Builds a stack's artifacts: the command line's way into `variants.build`."""

from collections.abc import Collection

from serve.judged import Seat
from serve.stack import Stack
from variants.build import VariantPlan, build
from variants.catalog import Catalog
from variants.home import home
from variants.progress import for_stream
from variants.store import Artifact, Store


def build_stack(stack: Stack, only: Collection[Seat] | None = None) -> dict[Seat, Artifact]:
    """Every variant's artifact, or those of `only`, whose parents must be among them; made where it is not there yet.
    Each file of each has been hashed once. A name that was rolled back comes with what it was rolled back to."""
    return build(plans_of(stack, only), Store(home()), Catalog(home()), for_stream())


def plans_of(stack: Stack, only: Collection[Seat] | None) -> list[VariantPlan]:
    """What has to be made for all of the stack, or for `only`, in the file's order."""
    return [plan for plan in stack.plans() if only is None or plan.name in only]
