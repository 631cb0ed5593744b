"""Reuters R8 for a classifier: which of eight topics is a newswire story about?

The stories and splits are those of `r8`, without its question: a classifier has a head for the topics and needs no
prompt. Labels are the collection's own names. Half of the stories are `earn`, so a model that never answers `grain` can
have a high accuracy. Macro-F1 shows that.
"""

from collections.abc import Sequence
from pathlib import Path

from variants.metrics.base import ACCURACY, Statistic
from variants.metrics.outcome import Outcome
from variants.metrics.scoring import macro_f1
from variants.tasks.base import Example, Split, Task
from variants.tasks.r8 import LABELS, R8, splits_of, story


def _macro_f1(outcomes: Sequence[Outcome]) -> float:
    return macro_f1([outcome.answer for outcome in outcomes], [outcome.label for outcome in outcomes])


class R8Topics(Task):
    """`input`: the first 60 words of a story; labels are `acq`, `crude`, `earn` and five more. Splits are R8's."""

    name = "r8_topics"
    kind = "article"
    labels = tuple(LABELS)
    sources = R8.sources
    metrics = (ACCURACY, Statistic("macro-F1", "share", of=_macro_f1))

    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        topics = {label: topic for topic, label in LABELS.items()}
        return {
            split: [Example(f"{each.id}-topic", story(str(each.input)), topics[each.label]) for each in stories]
            for split, stories in splits_of(files).items()
        }
