"""Names the evidence about a variant and its parent.

Evidence is about two artifacts, the settings of their engines, and the versions of what runs them. Another engine or
another version may answer otherwise, so its evidence begins anew.
"""

import hashlib
import json
from functools import cache

from serve.config.snapshot import ServedVariant
from variants.machine import versions

DIGITS = 12


def evidence_key(parent: ServedVariant, variant: ServedVariant) -> str:
    """`parent digest:variant digest:engines`."""
    return f"{parent.manifest.digest}:{variant.manifest.digest}:{engines_hash(parent, variant)}"


def engines_hash(parent: ServedVariant, variant: ServedVariant) -> str:
    """A hash of the settings of both engines and of the installed versions."""
    return _hash(parent.engine.settings.model_dump_json(), variant.engine.settings.model_dump_json())


@cache
def _hash(*settings: str) -> str:
    return hashlib.sha256(json.dumps([*settings, versions()], sort_keys=True).encode()).hexdigest()[:DIGITS]
