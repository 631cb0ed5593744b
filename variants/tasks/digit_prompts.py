"""Prompts for handwritten digits: does the picture show the digit that was asked for? For image generators.

An example is a prompt and the seed of the noise. Every variant draws from the same noise, so outcomes are paired. A
classifier that was trained on real digits (`digit_classifier`) reads the pictures. The share that it reads as the digit
asked for is the classifier score. (Salimans et al. 2016, arXiv 1606.03498, use a network's confidence instead.) The
Frechet distance compares the pictures with MNIST's test split."""

from collections.abc import Sequence
from pathlib import Path

from variants.tasks.base import Example, Prompt, Split, Task, shuffled
from variants.tasks.mnist import Mnist

_COUNT: dict[Split, int] = {"test": 1_000, "calibration": 200, "train": 0}
_FIRST_SEED: dict[Split, int] = {"test": 0, "calibration": 1_000_000, "train": 2_000_000}


class DigitPrompts(Task):
    """Labels "0" to "9", equally often. `test` 1,000 prompts, `calibration` 200 with other seeds, `train` 0."""

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
