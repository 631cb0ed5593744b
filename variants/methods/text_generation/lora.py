"""LoRA by peft: a low-rank adapter on the layers of attention, trained on a task's training split (Hu et al. 2021,
arXiv 2106.09685). What is stored is the adapter alone; an engine puts it on top of the parent. A parent in NF4 stays
packed while it is trained on (QLoRA: Dettmers et al. 2023, arXiv 2305.14314), and vLLM serves the adapter on the packed weights.

Made for a CPU and a minute or two: only the label's token carries loss, so the head computes one row a prompt; the
parent computes in bfloat16 where the CPU does so natively; and of the first examples the shorter half is learned from,
in batches of like length, so that hardly anything is padding. The adapter is trained in float32, and stored in
bfloat16, which is what engines execute.
"""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from variants import tasks
from variants.errors import RecipeError
from variants.methods import training
from variants.methods.base import BuildJob, MethodResult
from variants.methods.text_generation.baseline import (
    PACKAGES,
    adaptable_parent_of,
    check_generates,
    computing_dtype,
    linear_layers,
    load,
)
from variants.metrics.scoring import first_tokens
from variants.progress import Step
from variants.recipes.recipe import LoRA
from variants.tasks import Example, Task

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CONFIG = "adapter_config.json"
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
"""An adapter that is not merged slows its engine by each layer that it adapts (docs/decisions.md)."""


class Asked(NamedTuple):
    """One prompt's tokens and the first token of its label."""

    tokens: list[int]
    answer: int


def lora(job: BuildJob) -> MethodResult:
    """An adapter for the parent, as peft writes it. RecipeError, before any work, when the task has too few
    examples; also when training diverges."""
    assert isinstance(job.recipe, LoRA)
    recipe, parent = job.recipe, adaptable_parent_of(job)
    assert job.parent is not None
    packed = job.parent.manifest.precision == "nf4"
    task = tasks.get(recipe.task, job.home, job.progress)
    examples = _examples(task, recipe)
    import torch
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    torch.manual_seed(job.seed)
    base, tokenizer = load(parent, "bfloat16" if packed else computing_dtype())
    batches = _batches(_asked(examples, task.labels, tokenizer), recipe, job.seed)
    settings = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,  # type: ignore[arg-type]
        target_modules=_adapted(base),
        task_type="CAUSAL_LM",
    )
    if packed:
        base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
    model = get_peft_model(base, settings)
    with job.progress.step(f"training on {recipe.steps * recipe.batch} examples", total=recipe.steps) as step:
        _fit(model, batches, recipe, step)
    with job.progress.step("writing the adapter"):
        _write(model, job)
    with job.progress.step("checking what was written"):
        _check_written(job.out, parent)
    learned = f"{recipe.steps} steps of {recipe.batch} examples of {task.name}"
    note = f"rank {recipe.rank} on {', '.join(_adapted(base))}, {learned}"
    if packed:
        return MethodResult("nf4", "adapter", f"{note}, its parent in NF4", (*PACKAGES, "peft", "bitsandbytes"))
    return MethodResult("bf16", "adapter", note, (*PACKAGES, "peft"))


def _examples(task: Task, recipe: LoRA) -> list[Example]:
    """The first examples of the training split, twice as many as are learned from where there are so many."""
    train, need = task.examples("train"), recipe.steps * recipe.batch
    if need > len(train):
        raise RecipeError(
            f"{recipe.steps} steps of {recipe.batch} need {need} examples, {task.name} has {len(train)} to train on",
            field="recipe.steps",
            mend=f"at most {len(train) // recipe.batch}",
        )
    return train[: 2 * need]


def _asked(examples: Sequence[Example], labels: Sequence[str], tokenizer: "PreTrainedTokenizerBase") -> list[Asked]:
    """The examples' tokens, in their order. RecipeError where this tokenizer begins two labels alike."""
    try:
        firsts = first_tokens([tokenizer.encode(label, add_special_tokens=False) for label in labels], labels)
    except ValueError as error:
        raise RecipeError(str(error), field="recipe.task", mend="another task") from error
    answers = dict(zip(labels, firsts, strict=True))
    return [Asked(tokenizer.encode(str(example.input)), answers[example.label]) for example in examples]


def _adapted(model: "PreTrainedModel") -> list[str]:
    """The layers of attention, where there are such, else all linear ones but the output head, as engines know them:
    `q_proj`, `down_proj`."""
    linear = sorted({name.rpartition(".")[2] for name in linear_layers(model)})
    return [name for name in ATTENTION if name in linear] or linear


def _batches(asked: Sequence[Asked], recipe: LoRA, seed: int) -> list[list[Asked]]:
    """The shortest prompts, as many as are learned from, in batches of like length and a seeded order."""
    short = sorted(asked, key=lambda each: len(each.tokens))[: recipe.steps * recipe.batch]
    batches = [short[start : start + recipe.batch] for start in range(0, len(short), recipe.batch)]
    random.Random(seed).shuffle(batches)
    return batches


def _fit(model: Any, batches: Sequence[Sequence[Asked]], recipe: LoRA, step: Step) -> None:
    """AdamW under a rate that rises over a tenth of the steps and falls along a cosine; changes the adapter in
    place."""
    import torch

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def losses() -> "Iterator[Tensor]":
        for batch in batches:
            answers = torch.tensor([each.answer for each in batch])
            yield torch.nn.functional.cross_entropy(_logits(model.get_base_model(), batch), answers)

    model.train()
    training.descend(training.cosine(trained, recipe.learning_rate, len(batches)), losses(), step, most=1.0)
    model.eval()


def _logits(model: "PreTrainedModel", batch: Sequence[Asked]) -> "Tensor":
    """float32 [batch, vocabulary] after the last token of each prompt. Padding comes after it, where a causal model
    does not look."""
    import torch

    longest = max(len(each.tokens) for each in batch)
    ids = torch.tensor([each.tokens + [0] * (longest - len(each.tokens)) for each in batch])
    last = torch.tensor([len(each.tokens) - 1 for each in batch])
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[torch.arange(len(batch)), last]
    head = model.get_output_embeddings()
    assert head is not None
    logits: Tensor = head(hidden).float()
    return logits


def _write(model: Any, job: BuildJob) -> None:
    """adapter_model.safetensors in bfloat16 and adapter_config.json, the same bytes for the same adapter: peft keeps
    the layers' names in a set, and the folder of the base, which is this machine's."""
    import torch

    assert job.parent is not None
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.bfloat16)
    model.save_pretrained(job.out)
    (job.out / "README.md").unlink(missing_ok=True)
    config = json.loads((job.out / CONFIG).read_text())
    base = job.parent.manifest
    config["base_model_name_or_path"] = f"{base.model}@{base.variant}"
    config["target_modules"] = sorted(config["target_modules"])
    (job.out / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _check_written(folder: Path, parent: Path) -> None:
    """The adapter, as an engine would load it, generates."""
    from peft import PeftModel

    base, tokenizer = load(parent, "bfloat16")
    check_generates(PeftModel.from_pretrained(base, folder).eval(), tokenizer)  # type: ignore[arg-type]
