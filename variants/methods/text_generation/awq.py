"""AWQ's search for scales (Lin et al. 2023, arXiv 2306.00978) on a machine without an accelerator.

llmcompressor 0.14 pins the memory of its caches, and torch refuses that on a machine that has only a CPU. So the caches
are replaced by ones that do not pin. Everything else is the library's.
"""

from typing import Any

import torch
from llmcompressor.modifiers.transform.awq import AWQModifier
from llmcompressor.pipelines.cache import IntermediatesCache


class UnpinnedCache(IntermediatesCache):
    """A cache that pins no memory: a CPU needs no copy."""

    def pin_memory(self, batch_index: int, input_names: list[str] | None = None) -> None:
        return


class PlainAWQModifier(AWQModifier):
    """AWQ that pins memory only where there is an accelerator."""

    def on_calibration_start(self, state: Any, event: Any, **options: Any) -> None:
        super().on_calibration_start(state, event, **options)
        if not torch.accelerator.is_available():
            self._parent_args_cache = {parent: UnpinnedCache(None, None) for parent in self._parent_args_cache}
