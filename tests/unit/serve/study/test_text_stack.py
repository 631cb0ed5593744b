"""The study's text part: what `make demo-all` made is used again, and the table says what each variant is."""

from serve.config.loader import load
from serve.study.matrix import recipes_of
from tests.support.processes import ROOT
from variants.recipes.family import kind_of_line, structured

STACKS = ROOT / "deploy" / "stacks"


def test_what_stands_in_the_large_demo_is_the_same_there() -> None:
    ours = load(STACKS / "text-generation.yaml").models["smollm2"]
    theirs = load(STACKS / "demo-all.yaml").models["smollm2"]
    assert {name: ours.variants[name] for name in theirs.variants} == theirs.variants
    assert (ours.source, ours.seed) == (theirs.source, theirs.seed)


def test_every_kind_is_there_and_chains_are_told_from_their_parents() -> None:
    stack = load(STACKS / "text-generation.yaml")
    model = stack.models["smollm2"]
    lines = {
        name: [model.variants[each].recipe for _, each in recipes_of(stack, ("smollm2", name))]
        for name in model.variants
    }
    kinds = {name: kind_of_line(line) for name, line in lines.items()}
    assert {name for name, kind in kinds.items() if kind == "chain"} == {"pruned-int8", "lora-int8", "qlora"}
    assert {name for name, kind in kinds.items() if kind == "lora"} == {"lora", "lora-merged"}
    assert {name for name, line in lines.items() if structured(line)} == {"pruned", "pruned-int8"}
    assert sum(structured(line) is False for line in lines.values()) == 3
    assert sum(kind == "quantized" for kind in kinds.values()) == 6
