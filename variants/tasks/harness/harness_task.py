"""A task of lm-evaluation-harness as a task of this project: `lm_eval:NAME`, or `lm_eval:` and a path.

A path names a folder with one task, or the YAML file of a task. The harness asks and scores the samples itself
(`variants.tasks.harness.samples`); their prompts are the examples, by which an engine's speed is measured. The order is
the harness' own, so the first n examples are those of its `--limit n`.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from variants.document import canonical_sha256
from variants.metrics.base import Metric
from variants.metrics.harness import SHARES, Harness, SampleMean
from variants.progress import Progress
from variants.recipes.source import Source
from variants.tasks.base import Example, Split, Task
from variants.tasks.harness.definition import PREFIX, Definition, describe


class HarnessTask(Task):
    """Its first use starts the harness once in this process. That raises InputError where the task cannot be used, and
    MissingDependency where lm_eval is not installed."""

    kind = "harness"
    labels = ()
    sources: tuple[Source, ...] = ()
    fields: Mapping[str, object] = MappingProxyType({"max_tokens": 16, "truncate_prompt_tokens": -1})
    """Of the requests that measure speed: a few tokens after a prompt, which is cut where the engine's context ends."""

    def __init__(self, name: str, home: Path | None = None, progress: Progress | None = None) -> None:
        super().__init__(home, progress)
        self.name, self.spec = name, name.removeprefix(PREFIX)

    @cached_property
    def definition(self) -> Definition:
        return describe(self.spec)

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:  # type: ignore[override]
        chosen = self.definition
        name = chosen.metric if chosen.filter == "none" else f"{chosen.metric},{chosen.filter}"
        return (SampleMean(name, "share" if chosen.metric in SHARES else "", chosen.better),)

    @cached_property
    def harness(self) -> Harness:  # type: ignore[override]
        of = self.definition
        return Harness(version=of.harness, task_version=of.version, definition_sha256=of.sha256)

    @cached_property
    def test_sha256(self) -> str:
        """Outcomes are valid for this version of the harness, this definition and these samples."""
        of = self.definition
        return canonical_sha256([of.harness, of.sha256, [[each.id, each.sha256] for each in of.samples]])

    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        return {"test": tuple(Example(each.id, each.prompt, each.target) for each in self.definition.samples)}
