"""What a build lost of what its parent can, measured on calibration examples when it was built.

It is no card: the examples are few and are those that the method may have fitted, no engine serves, and there is no
interval. It tells a variant that is ruined from one that is not.
"""

from typing import Annotated, Literal

from pydantic import Field

from variants.document import Document

Measure = Literal["accuracy", "agreement", "cosine", "F1", "likeness", "perplexity"]
_NOUNS: dict[Measure, str] = {
    "accuracy": "accuracy", "agreement": "agreement with its parent", "cosine": "cosine to its parent's embeddings",
    "F1": "F1 of boxes", "likeness": "likeness to its parent's pictures", "perplexity": "perplexity",
}  # fmt: skip


class Kept(Document):
    """The layers that `keep: auto` left in 16 bits. `variant` is the figure of the variant without it, and
    `weights_share` the share of the weights in linear and convolution layers that the kept ones hold."""

    layers: Annotated[tuple[str, ...], Field(min_length=1)]
    variant: float
    weights_share: Annotated[float, Field(ge=0, le=1)]


class Loss(Document):
    """The figures of the parent and of the variant on `examples` calibration examples of `task`. All but perplexity are
    shares of 1, and higher is better. Likeness is measured on prompts that are always the same, and `task` says so."""

    measure: Measure
    task: str
    examples: Annotated[int, Field(gt=0)]
    parent: float
    variant: float
    kept: Kept | None = None

    @property
    def lost(self) -> float:
        """The share that is gone, or the growth of perplexity as a share of the parent's. Not finite where the variant
        computes no number."""
        return lost(self.measure, self.parent, self.variant)

    def sentence(self) -> str:
        """What was lost and, where layers were kept, which and what they would have cost."""
        of_task = self.task if self.measure == "likeness" else f"calibration examples of {self.task}"
        told = f"{change(self.measure, self.lost)} on {self.examples} {of_task}"
        told = f"{told}: {_NOUNS[self.measure]} {self._figure(self.variant)}, its parent {self._figure(self.parent)}"
        if self.kept is None:
            return told
        count, names = len(self.kept.layers), ", ".join(self.kept.layers)
        layers = "1 layer stays" if count == 1 else f"{count} layers stay"
        without = change(self.measure, lost(self.measure, self.parent, self.kept.variant))
        share = f"{self.kept.weights_share:.0%} of the weights"
        return f"{told}; {layers} in 16 bits ({share}), otherwise {without}: {names}"

    def _figure(self, value: float) -> str:
        return f"{value:.2f}" if self.measure == "perplexity" else f"{100 * value:.1f} %"


def lost(measure: Measure, parent: float, variant: float) -> float:
    """`Loss.lost` of two figures."""
    return variant / parent - 1 if measure == "perplexity" else parent - variant


def change(measure: Measure, loss: float) -> str:
    """A loss in words."""
    if loss <= 0:
        return "it loses nothing"
    return f"its perplexity grows by {loss:.1%}" if measure == "perplexity" else f"it loses {100 * loss:.1f} points"
