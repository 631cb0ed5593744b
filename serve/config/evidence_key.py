"""The key of the evidence about a variant and its parent.

Evidence belongs to two builds, the settings of their engines and the installed versions. Where one of them is replaced,
new evidence begins: what another engine did proves nothing.
"""

import hashlib
import json
from functools import cache, lru_cache

from serve.config.snapshot import ServedVariant
from variants.machine import versions

DIGITS = 12
"""Hex digits of the hash of settings and versions."""


def evidence_key(parent: ServedVariant, variant: ServedVariant) -> str:
    """`digest:digest:how` of the parent's build, the variant's build, and how both are served."""
    how = how_served(*(each.engine.settings.model_dump_json() for each in (parent, variant)))
    return f"{parent.manifest.digest}:{variant.manifest.digest}:{how}"


@lru_cache(maxsize=256)
def how_served(parent: str, variant: str) -> str:
    """A hash of both engines' settings, each as JSON, and of the installed versions."""
    document = json.dumps([parent, variant, installed()], sort_keys=True)
    return hashlib.sha256(document.encode()).hexdigest()[:DIGITS]


@cache
def installed() -> dict[str, str]:
    """The versions of this process: packages that are replaced take effect when it starts again."""
    return versions()
