"""Prompts for pictures of any kind, without labels: does a variant draw what its parent draws? For pipelines of
diffusers.

An example is a prompt and the seed of the noise. Every variant draws from the same noise, so pictures are paired. A
picture is drawn in few steps, because it is compared and not looked at.
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from types import MappingProxyType

from variants.metrics.pictures import CONTRAST
from variants.tasks.base import Example, Prompt, Split, Task, shuffled

STEPS = 8
_THINGS = ("a lighthouse", "an old sailor", "a red apple", "a sleeping cat", "two children", "a steam train", "a city",
           "a glass of water", "a forest", "a wooden chair")  # fmt: skip
_STYLES = ("photograph", "oil painting", "pencil drawing", "at night, in the rain")


class PicturePrompts(Task):
    """`test` has 40 prompts: ten things in four styles. `calibration` and `train` have none."""

    name = "picture_prompts"
    kind = "picture"
    labels = ()
    sources = ()
    metrics = (CONTRAST,)
    fields = MappingProxyType({"num_inference_steps": STEPS})

    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        texts = [f"{thing}, {style}" for thing, style in product(_THINGS, _STYLES)]
        examples = [Example(f"picture-prompts-{at:02d}", Prompt(text, at), "") for at, text in enumerate(texts)]
        return {"test": shuffled(examples), "calibration": [], "train": []}
