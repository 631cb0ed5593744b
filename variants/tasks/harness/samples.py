"""Runs a task of lm-evaluation-harness against an engine, and reads its log of single samples as outcomes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from variants.errors import EngineError
from variants.metrics.outcome import Outcome
from variants.tasks.base import Example
from variants.tasks.harness.definition import run
from variants.tasks.harness.harness_task import HarnessTask

CONCURRENCY = 8


@dataclass(frozen=True)
class Engine:
    """The engine at `url` that serves `model` with a context of `context` tokens. `tokenizer` is the folder of its
    tokenizer, `headers` what each request carries."""

    url: str
    model: str
    tokenizer: Path
    context: int
    headers: Mapping[str, str] = field(default_factory=dict)


async def samples_of(task: HarnessTask, examples: Sequence[Example], engine: Engine, log: Path) -> list[Outcome]:
    """The outcome of each example, in their order: the first ones of the task. The harness' log goes to `log`.

    Raises EngineError where the harness or the engine fails, or where the figure is not the mean of the samples.
    """
    model = {
        "base_url": f"{engine.url}/v1/completions",
        "model": engine.model,
        "tokenizer": str(engine.tokenizer),
        "tokenizer_backend": "huggingface",
        "num_concurrent": CONCURRENCY,
        "max_length": engine.context,
        "header": dict(engine.headers),
    }
    request = {"task": task.spec, "run": {"model": model, "count": len(examples)}}
    answer = await run(request, log, EngineError)
    outcomes = [
        Outcome(each["id"], each["target"], each["answer"], each["value"] == 1, each["value"])
        for each in answer["samples"]
    ]
    if [each.example_id for each in outcomes] != [each.id for each in examples]:
        raise EngineError(f"lm_eval logged other samples of {task.name} than were asked", mend=f"see {log}")
    mean = math.fsum(each.value or 0.0 for each in outcomes) / len(outcomes)
    if not math.isclose(mean, answer["figure"], abs_tol=1e-9):
        message = f"lm_eval's figure of {task.name} is {answer['figure']}, and the mean of its samples is {mean}"
        raise EngineError(message, mend=f"see {log}")
    return outcomes
