"""SmolLM2's own weights on real text: how much perplexity 8 and 4 bits cost, and what it knows of the physical world.

WikiText-2 (Merity et al. 2016, arXiv 1609.07843) and PIQA (Bisk et al. 2019, arXiv 1911.11641) may not be copied into
the project, so they are read where UNDERSTUDY_ZOO says. Perplexity is of each variant's weights as stored, computed by
transformers in one pass: eight engines would take minutes to start. Choices go through an engine.
"""

import json
from collections.abc import Sequence
from functools import cache
from math import exp
from pathlib import Path

import aiohttp
import pytest
import torch

from serve.config.artifacts import build_stack
from serve.config.loader import load, only
from serve.evaluation.likelihood import Likelihood, choice_predictor
from tests.integration.serve.engines.engine import running_vllm
from tests.support.processes import ROOT
from tests.support.zoo import zoo
from variants.artifacts.store import Artifact
from variants.evaluation.evaluate import evaluate
from variants.evidence.intervals import wilson
from variants.tasks.base import Example, Split, Task

pytestmark = [pytest.mark.integration, pytest.mark.zoo]
BASELINE = 27.59
WINDOWS, TOKENS = 8, 512


@cache
def built() -> dict[str, Artifact]:
    """The study's variants that are asked here, and their baseline. AWQ takes five minutes where no study made it."""
    names = ("baseline", "int8", "int4", "int4-awq")
    stack = only(load(ROOT / "deploy" / "stacks" / "text-generation.yaml"), "smollm2", *names)
    return {name: artifact for (_, name), artifact in build_stack(stack).items()}


def perplexity(artifact: Artifact, text: str) -> float:
    """exp of the mean surprise over 8 windows of 512 tokens, each begun anew: 4,088 predictions."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(artifact.model_path)
    model = AutoModelForCausalLM.from_pretrained(artifact.model_path, dtype="auto").eval()
    ids = torch.tensor(tokenizer.encode(text)[: WINDOWS * TOKENS]).reshape(WINDOWS, TOKENS)
    total = 0.0
    with torch.inference_mode():
        for window in ids:
            logits = model(window[None], use_cache=False).logits[0, :-1].float()
            total += float(torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum"))
    return exp(total / (WINDOWS * (TOKENS - 1)))


@pytest.fixture(scope="module")
def measured() -> dict[str, float]:
    text = zoo("lm/wikitext2_test_part.txt").read_text(encoding="utf-8")
    perplexities = {name: perplexity(artifact, text) for name, artifact in built().items()}
    print(perplexities)
    return perplexities


def test_the_baseline_is_as_good_as_is_known(measured: dict[str, float]) -> None:
    assert measured["baseline"] == pytest.approx(BASELINE, rel=0.005)


def test_int8_costs_at_most_four_percent(measured: dict[str, float]) -> None:
    assert 100 * (measured["int8"] / measured["baseline"] - 1) <= 4


def test_the_better_int4_costs_at_most_twenty_percent(measured: dict[str, float]) -> None:
    best = min(figure for name, figure in measured.items() if name.startswith("int4"))
    assert 100 * (best / measured["baseline"] - 1) <= 20


def test_no_int4_is_lossless(measured: dict[str, float]) -> None:
    """The source was rounded to 4 bits in asymmetric groups of 32 already: on that grid nothing more would be lost, and
    nothing would be shown."""
    for name, artifact in built().items():
        if name.startswith("int4"):
            config = json.loads((artifact.model_path / "config.json").read_text())["quantization_config"]
            weights = [group["weights"] for group in config["config_groups"].values()]
            kinds = {(each["num_bits"], each["symmetric"]) for each in weights}
            assert (4, True) in kinds, name
            assert kinds <= {(4, True), (8, True)}, name
            assert measured[name] > 1.01 * measured["baseline"]


class Piqa(Task):
    """The zoo's first 1,000; asked as lm-evaluation-harness asks them."""

    name = "piqa"
    kind = "choice"
    labels = ("0", "1")
    sources = ()

    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        labels = zoo("lm/piqa_valid_1000_labels.lst").read_text().split()
        rows = zoo("lm/piqa_valid_1000.jsonl").read_text(encoding="utf-8").splitlines()
        examples = []
        for number, (row, label) in enumerate(zip(rows, labels, strict=True)):
            asked = json.loads(row)
            endings = (" " + asked["sol1"], " " + asked["sol2"])
            examples.append(Example(f"piqa-{number}", (f"Question: {asked['goal']}\nAnswer:", *endings), label))
        return {"test": examples}


async def test_piqa_is_answered_as_it_is_known_to_be() -> None:
    """64 to 65 % of 1,000 are right; of the first 100 as many as that allows."""
    task = Piqa()
    examples = task.examples("test", 100)  # before anything is built: they may not be there
    with running_vllm(built()["baseline"].path, "smollm2") as engine:
        async with aiohttp.ClientSession() as session:
            ask = choice_predictor(Likelihood(session, engine.url, "smollm2"))
            outcomes = await evaluate(task, examples, ask)
    interval = wilson(sum(outcome.correct for outcome in outcomes), len(outcomes))
    print(interval)
    assert interval.low <= 0.645 <= interval.high
