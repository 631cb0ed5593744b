"""Builds a stack's artifacts: the command line's way into `variants.build.builder`."""

from collections.abc import Collection

from serve.config.lineage import VariantRef
from serve.config.stack import Stack
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.home import home
from variants.progress import for_stream


def build_stack(stack: Stack, only: Collection[VariantRef] | None = None) -> dict[VariantRef, Artifact]:
    """Every variant's artifact, or those of `only`, whose parents must be among them; made where it is not there yet.
    Each file of each has been hashed once. A name that was rolled back comes with what it was rolled back to."""
    return build(plans_of(stack, only), Store(home()), Catalog(home()), for_stream())


def plans_of(stack: Stack, only: Collection[VariantRef] | None) -> list[VariantPlan]:
    """What has to be made for all of the stack, or for `only`, in the file's order."""
    return [plan for plan in stack.plans() if only is None or plan.name in only]
