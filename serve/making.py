"""Builds a stack's artifacts: the command line's way into `variants.build`."""

from serve.stack import Stack
from variants.build import build
from variants.catalog import Catalog
from variants.home import home
from variants.progress import for_stream
from variants.store import Artifact, Store


def build_stack(stack: Stack) -> dict[tuple[str, str], Artifact]:
    """Every variant's artifact, made where it is not there yet; each file of each has been hashed once. A name that
    was rolled back comes with what it was rolled back to."""
    return build(stack.plans(), Store(home()), Catalog(home()), for_stream())
