"""Training on answers that a model writes: an adapter learns a handful of them, with and without a chat template."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.serve.engines.tiny_text import write_tiny_text
from tests.integration.variants.conftest import job
from tests.integration.variants.methods.text_generation.test_chat_calibration import TEMPLATE, tokenizer
from tests.support.recipes import parse_recipe
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.errors import RecipeError
from variants.methods.text_generation.baseline import computing_dtype
from variants.methods.text_generation.calibration import chat_text
from variants.methods.text_generation.distillation import examples_of
from variants.methods.text_generation.prompts import prompts_of, whole_text
from variants.recipes.recipe import Distillation
from variants.recipes.source import Source
from variants.tasks import Chat, Example, Tasks
from variants.tasks.task_file import TaskFile

pytestmark = pytest.mark.integration
BASELINE = {"kind": "baseline", "dtype": "float32"}
LORA = {"kind": "lora", "rank": 16, "alpha": 32, "steps": 500, "batch": 8, "learning_rate": 0.005}
INPUTS: dict[str, dict[str, Any]] = {
    "plain": {"input": "say {{ text }}"},
    "chat": {"messages": [{"role": "user", "content": "{{ text }}"}]},
}
ROWS = dict(zip("abcdefgh", ("km", "pz", "xq", "km", "wj", "pz", "vk", "zx"), strict=True))


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Tasks:
    folder = tmp_path_factory.mktemp("rows")

    def write(name: str, rows: dict[str, str]) -> str:
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows.items()))
        return str(path)

    splits = {"train": write("train", ROWS), "test": write("test", {"i": "km", "j": "pz"})}
    shared = {"label": "label", "scorer": "exact", "splits": splits}
    return Tasks({name: TaskFile.model_validate(shared | given) for name, given in INPUTS.items()})


@pytest.fixture(scope="module")
def built(tasks: Tasks, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    # Its weights are large. With those of a new model its output head, which stays, prefers no token clearly.
    home, folder = tmp_path_factory.mktemp("home"), write_tiny_text(tmp_path_factory.mktemp("tiny"))
    source = Source(uri=str(folder), licence="MIT")
    plans = [VariantPlan("tiny", "baseline", "text-generation", source, parse_recipe(BASELINE))]
    for name in INPUTS:
        recipe = parse_recipe(LORA | {"task": name})
        plans.append(VariantPlan("tiny", name, "text-generation", source, recipe, "baseline", tasks=tasks))
    return {name: artifact for (_, name), artifact in build(plans, Store(home), Catalog(home)).items()}


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_the_loss_falls_and_the_adapter_writes_the_labels_and_then_ends(
    name: str, built: dict[str, Artifact], tasks: Tasks
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = built["baseline"].model_path
    plain: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=computing_dtype()).eval()  # as engines compute
    text: Any = AutoTokenizer.from_pretrained(folder)

    def loss(model: Any, given: list[int], label: list[int]) -> float:
        ids = torch.tensor([given + label])
        wanted = torch.tensor([[-100] * len(given) + label])
        with torch.no_grad():
            return float(model(input_ids=ids, labels=wanted).loss)

    examples = tasks.get(name).examples("train")
    # Written here once more: what an engine sends the model, without the code that trains.
    prompts, labels = list[list[int]](), list[list[int]]()
    for each in examples:
        if isinstance(each.input, Chat):
            messages = [{"role": role, "content": content} for role, content in each.input.messages]
            labels.append(text(each.label)["input_ids"])
            prompts.append(text.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
        else:
            labels.append(text(f" {each.label}")["input_ids"])
            prompts.append(text(each.input)["input_ids"])
    labels = [[*label, text.eos_token_id] for label in labels]
    before = [loss(plain, *pair) for pair in zip(prompts, labels, strict=True)]
    model: Any = PeftModel.from_pretrained(plain, built[name].model_path).eval()
    after = [loss(model, *pair) for pair in zip(prompts, labels, strict=True)]
    assert max(after) < min(before) / 4
    if name == "plain":
        return  # through the blank before a label, this random model cannot tell all of the inputs apart
    right = 0
    for given, label in zip(prompts, labels, strict=True):
        with torch.no_grad():
            ids = model.generate(input_ids=torch.tensor([given]), max_new_tokens=8, do_sample=False)
        right += ids[0, len(given) :].tolist() == label
    assert right >= 6, "trained in float32, it confuses one of the eight inputs with another"


def test_a_prompt_is_the_input_and_its_answer_the_whole_label(tasks: Tasks) -> None:
    words = tokenizer(TEMPLATE)
    chat = Example("1", Chat((("user", "hello"),)), "hello hello")
    (prompt,) = prompts_of(tasks.get("chat"), [chat], words)
    assert prompt.tokens == words.encode(chat_text(Chat((("user", "hello"),)), words), add_special_tokens=False)
    assert prompt.tokens == [0, 2, 4, 3], "the template's first token is there once"
    assert prompt.answer == [4, 4], "this tokenizer has no token that ends a text"
    (prompt,) = prompts_of(tasks.get("plain"), [Example("1", "hello", "hello")], words)
    assert prompt == ([0, 4], [4])


def test_a_label_has_one_blank_where_the_tokenizer_puts_one_before_any_text(tasks: Tasks) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    marked = {"\u2581": 1, "\u2581\u2581": 2, "\u2581a": 3, "\u2581b": 4, "a": 5, "b": 6}
    merges = [("\u2581", "\u2581"), ("\u2581", "a"), ("\u2581", "b")]
    plain = Tokenizer(models.BPE(marked, merges))
    plain.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    plain.decoder = decoders.Metaspace()
    words = PreTrainedTokenizerFast(tokenizer_object=plain)
    assert words.encode(" b", add_special_tokens=False)[0] == 2, "alone, it begins with two blanks"
    assert prompts_of(tasks.get("plain"), [Example("1", "a", "b")], words) == [([3], [4])]


def test_the_label_follows_plain_text_after_a_blank(tasks: Tasks) -> None:
    words = tokenizer(None)
    for given, whole in (("a:", "a: b"), ("a:\n", "a:\nb")):
        assert whole_text(tasks.get("plain"), Example("1", given, "b"), words) == whole


def test_a_model_without_a_template_is_refused_by_the_task(tasks: Tasks) -> None:
    chat = Example("1", Chat((("user", "hello"),)), "hello")
    with pytest.raises(RecipeError, match="the chats of chat cannot be written"):
        prompts_of(tasks.get("chat"), [chat], tokenizer(None))


def test_distillation_reads_them_as_it_reads_others(tmp_path: Path, tasks: Tasks) -> None:
    from dataclasses import replace

    given = replace(job(BASELINE, tmp_path / "out" / "model"), tasks=tasks)
    recipe = Distillation(tasks=("plain", "chat"), steps=2, batch=2)
    assert [task.name for task, _ in examples_of(given, recipe)] == ["plain", "plain", "chat", "chat"]
