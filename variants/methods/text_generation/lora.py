"""LoRA by peft: a low-rank adapter on the attention layers, trained on a task's training split (Hu et al. 2021, arXiv
2106.09685). Only the adapter is stored; an engine loads it beside the parent. A parent in NF4 stays packed during
training (QLoRA: Dettmers et al. 2023, arXiv 2305.14314), and vLLM serves the adapter on the packed weights.

Training is made for a minute or two on a CPU. Only the tokens to answer with have a loss
(`variants.methods.text_generation.prompts`), so the head computes few rows. The parent computes in bfloat16 where the
CPU does so natively. The shorter half of the examples is used, in batches of similar length, so that there is little
padding. A whole answer takes several passes to learn, and one's own data are often few, so examples of generated
answers come again where the steps need more than there are. The adapter is trained in float32 and stored in bfloat16,
which engines execute.
"""

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from variants.errors import RecipeError
from variants.methods import training
from variants.methods.base import BuildJob, MethodResult
from variants.methods.lora_adapter import with_adapter, write_adapter
from variants.methods.text_generation.baseline import (
    PACKAGES,
    check_generates,
    computing_dtype,
    linear_layers,
    load,
    parent_of,
)
from variants.methods.text_generation.layers import check_served, outline
from variants.methods.text_generation.prompts import Prompt, is_generated, prompts_of
from variants.progress import Step
from variants.recipes.recipe import LoRA
from variants.tasks import Example, Task

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
"""Each layer that an unmerged adapter changes makes its engine slower (docs/decisions.md)."""


def lora(job: BuildJob[LoRA]) -> MethodResult:
    """An adapter for the parent, as peft writes it. RecipeError, before any work, when the task has too few
    examples; also when training diverges."""
    recipe, parent = job.recipe, parent_of(job, ("bf16", "f32", "nf4"))
    assert job.parent is not None
    shapes = outline(parent)
    check_served(shapes, ("bloom",), "with adapters")
    _adapted_layers(shapes)
    packed = job.parent.manifest.precision == "nf4"
    task = job.tasks.get(recipe.task, job.home, job.progress)
    examples = _examples(task, recipe)
    import torch
    from peft import PeftModel, prepare_model_for_kbit_training

    torch.manual_seed(job.seed)
    base, tokenizer = load(parent, "bfloat16" if packed else computing_dtype())
    batches = _batches(prompts_of(task, examples, tokenizer), recipe, job.seed)
    layers = _adapted_layers(base)
    if packed:
        base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
    model = with_adapter(base, recipe, target_modules=layers, task_type="CAUSAL_LM")
    with job.progress.step(f"training on {recipe.steps * recipe.batch} examples", total=recipe.steps) as step:
        _fit(model, batches, recipe, step)
    with job.progress.step("writing the adapter"):
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(torch.bfloat16)
        name = f"{job.parent.manifest.model}@{job.parent.manifest.variant}"
        write_adapter(model, job.out, base_model_name_or_path=name, target_modules=layers)
    with job.progress.step("checking what was written"):
        plain, tokenizer = load(parent, "bfloat16")
        check_generates(PeftModel.from_pretrained(plain, job.out).eval(), tokenizer)  # type: ignore[arg-type]
    learned = f"{recipe.steps} steps of {recipe.batch} examples of {task.name}"
    note = f"rank {recipe.rank} on {', '.join(layers)}, {learned}"
    if packed:
        return MethodResult("nf4", "adapter", f"{note}, its parent in NF4", (*PACKAGES, "peft", "bitsandbytes"))
    return MethodResult("bf16", "adapter", note, (*PACKAGES, "peft"))


def _examples(task: Task, recipe: LoRA) -> list[Example]:
    """The first examples of the training split: twice as many as are used, or all where there are fewer."""
    train, need = task.examples("train"), recipe.steps * recipe.batch
    if not train:
        mend = "give its splits a share for training"
        raise RecipeError(f"{task.name} has no examples to train on", field="recipe.task", mend=mend)
    if need > len(train) and not is_generated(task):
        raise RecipeError(
            f"{recipe.steps} steps of {recipe.batch} need {need} examples, {task.name} has {len(train)} to train on",
            field="recipe.steps",
            mend=f"at most {len(train) // recipe.batch}",
        )
    return train[: 2 * need]


def _adapted_layers(model: "PreTrainedModel") -> list[str]:
    """The last names of the attention layers, where there are such, else of all linear layers but the output head.
    Sorted. RecipeError where the model has no linear layer."""
    linear = sorted({name.rpartition(".")[2] for name in linear_layers(model)})
    if not linear:
        message = f"a {model.config.model_type} has no linear layer that an adapter could change"
        raise RecipeError(message, field="parent", mend="a model with linear layers")
    return [name for name in linear if name in ATTENTION] or linear


def _batches(prompts: Sequence[Prompt], recipe: LoRA, seed: int) -> list[list[Prompt]]:
    """As many of the shortest prompts as the recipe uses, in batches of similar length and a seeded order. Where there
    are fewer, further passes follow, each in another order."""
    short = sorted(prompts, key=lambda each: len(each.tokens))[: recipe.steps * recipe.batch]
    one_pass = [short[start : start + recipe.batch] for start in range(0, len(short), recipe.batch)]
    order, batches = random.Random(seed), list[list[Prompt]]()
    while len(batches) < recipe.steps:
        order.shuffle(one_pass)
        batches += one_pass
    return batches[: recipe.steps]


def _fit(model: Any, batches: Sequence[Sequence[Prompt]], recipe: LoRA, step: Step) -> None:
    """Train the adapter in place, by AdamW under a rate that rises over a tenth of the steps and falls along a
    cosine."""
    import torch

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def losses(here: str) -> "Iterator[Tensor]":
        for batch in batches:
            answers = torch.tensor([token for each in batch for token in each.answer], device=here)
            yield torch.nn.functional.cross_entropy(_logits(model.get_base_model(), batch), answers)

    model.train()
    with training.on_device(model) as here:
        training.descend(training.cosine(trained, recipe.learning_rate, len(batches)), losses(here), step, most=1.0)
    model.eval()


def _logits(model: "PreTrainedModel", batch: Sequence[Prompt]) -> "Tensor":
    """float32 [tokens of all answers, vocabulary]: each from the place before its token. Padding comes last, so a
    causal model ignores it."""
    import torch

    ids = training.padded([each.tokens + each.answer[:-1] for each in batch])[0].to(model.device)
    states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    places = [(row, len(each.tokens) - 1 + at) for row, each in enumerate(batch) for at in range(len(each.answer))]
    rows, columns = torch.tensor(places, device=ids.device).T
    head = model.get_output_embeddings()
    assert head is not None
    logits: Tensor = head(states[rows, columns]).float()
    return logits
