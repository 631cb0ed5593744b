"""LoRA for a text classifier: low-rank updates of the encoder's linear layers, and a new head, over frozen weights
(Hu et al. 2021, arXiv 2106.09685).

The merged model is served: OpenVINO loads no adapters, and a merged one costs nothing. The adapter alone is beside it
in `adapter/`, in peft's format, for other engines that hold the encoder. It is a hundredth of the weights.
"""

from typing import TYPE_CHECKING

from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import first_examples
from variants.methods.lora_adapter import FOLDER, with_adapter, write_adapter
from variants.methods.text_classification import fitting
from variants.methods.text_classification import model as text_classifier
from variants.recipes.recipe import LoRA

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

TOKENS = 128
"""Of a text in training: more would take longer, and the first words tell the topic."""


def lora(job: BuildJob[LoRA]) -> MethodResult:
    """`job.source` adapted to the recipe's task: IR and safetensors of the merged model, executed in float32, and the
    adapter."""
    assert job.source is not None
    import torch

    recipe = job.recipe
    task, examples = first_examples(job, recipe.task, "train", recipe.steps * recipe.batch, "recipe.steps")
    torch.manual_seed(job.seed)
    with job.progress.step(f"reading {job.source.name}"):
        base, tokenizer = text_classifier.load_encoder(job.source, task.labels)
    model = adapted(base, recipe)
    data = fitting.encoded(examples, task.labels, tokenizer, min(TOKENS, tokenizer.model_max_length))
    with job.progress.step(f"training on {len(data)} texts", total=recipe.steps) as step:
        fitting.fit(base, data, step, recipe, epochs=1, seed=job.seed)
    size = write_adapter(model, job.out / FOLDER, base_model_name_or_path=job.source.name)
    text_classifier.save(job, model.merge_and_unload(), tokenizer)
    note = f"{job.source.name}, merged with an adapter of {size:,} bytes trained on {len(data)} {task.name} texts"
    return text_classifier.result(note, task.labels, "peft")


def adapted(model: "PreTrainedModel", recipe: LoRA) -> "PeftModel":
    """`model` with the recipe's adapter on every linear layer of the encoder. Layers outside the encoder are the head,
    and are trained whole. RecipeError where the encoder has no linear layer."""
    import torch

    encoder = model.base_model_prefix
    linear = {
        name.rpartition(".")[2] for name, part in model.base_model.named_modules() if isinstance(part, torch.nn.Linear)
    }
    if not linear:
        message = f"a {model.config.model_type} has no linear layer that an adapter could change"
        raise RecipeError(message, field="recipe.kind", mend="another encoder, as BERT")
    return with_adapter(
        model,
        recipe,
        target_modules=rf"{encoder}\..*\.({'|'.join(sorted(linear))})",
        modules_to_save=[name for name, _ in model.named_children() if name not in (encoder, "dropout")],
    )
