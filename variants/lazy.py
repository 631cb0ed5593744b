"""Public names of a package, imported when they are first used: so `import variants` stays fast."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """A `__getattr__` for the package (PEP 562). `places` has "module:name" by public name."""

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, own = places[name].partition(":")
        return getattr(import_module(module), own)

    return get
