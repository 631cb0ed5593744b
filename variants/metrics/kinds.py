"""The names of kinds of examples and of scorers, each written once. Both are in one namespace: the kind of a task whose
answers are generated is the name of its scorer."""

from typing import Literal, NewType, get_args

OtherKind = Literal[
    "text", "article", "image", "ranked", "triplet", "pair", "boxes", "choice", "passage", "drawing", "picture",
    "harness",
]  # fmt: skip
"""Examples whose answers are not generated."""
OtherScorer = Literal["choice", "label", "ranked", "passage", "spearman", "boxes"]
"""What a task of one's own may name as `scorer`, beside the scorers of generated answers."""
BuiltInScorer = Literal["exact", "prefix", "contains", "regex", "number", "json", "schema", "f1", "rouge-l"]
PluginScorer = NewType("PluginScorer", str)
Generated = BuiltInScorer | PluginScorer
OTHER_KINDS: tuple[OtherKind, ...] = get_args(OtherKind)
OTHER_SCORERS: tuple[OtherScorer, ...] = get_args(OtherScorer)
LEARNT: tuple[BuiltInScorer, ...] = ("exact", "prefix", "contains", "number", "json", "f1", "rouge-l")
"""Scorers whose label is itself a right answer, so that a model can be trained to write it."""
