"""Prompts for handwritten digits: is what was drawn the digit that was asked for? For image generators.

An example is a prompt and the seed of the noise, so every variant draws each from the same noise and outcomes are
paired. What was drawn is read by a classifier (`digit_classifier`) that was trained on real digits: the share that it
reads as the digit asked for is the classifier score (after Salimans et al. 2016, arXiv 1606.03498, which looks at how
sure a network is of what was drawn). The real digits of MNIST's test split are what a Frechet distance is taken to."""

from collections.abc import Sequence
from pathlib import Path

from variants.tasks.base import Example, Prompt, Split, Task, shuffled
from variants.tasks.mnist import Mnist

_COUNT: dict[Split, int] = {"test": 1_000, "calibration": 200, "train": 0}
_FIRST_SEED: dict[Split, int] = {"test": 0, "calibration": 1_000_000, "train": 2_000_000}


class DigitPrompts(Task):
    """Labels "0" to "9", each as often; `test` 1,000 prompts, `calibration` 200 with seeds of their own, no `train`."""

    name = "digit_prompts"
    kind = "drawing"
    labels = Mnist.labels
    sources = Mnist.sources

    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        return {split: shuffled(map(_example, [split] * count, range(count))) for split, count in _COUNT.items()}


def _example(split: Split, number: int) -> Example:
    label = DigitPrompts.labels[number % 10]
    prompt = Prompt(f"a handwritten {label}", _FIRST_SEED[split] + number)
    return Example(f"digit-prompts-{split}-{number:04d}", prompt, label)
