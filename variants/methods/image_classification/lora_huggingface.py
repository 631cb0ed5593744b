"""LoRA for a Hugging Face image classifier: low-rank updates of every linear layer, and a new head, over frozen weights
(Hu et al. 2021, arXiv 2106.09685), by peft.

The merged model is served. The adapter alone is beside it in `adapter/`, in peft's format.
"""

from typing import cast

from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.image_classification.lora import train_and_merge
from variants.methods.image_classification.model import load_to_train
from variants.methods.lora_adapter import with_adapter
from variants.recipes.recipe import LoRA

HEAD = "classifier"


def lora(job: BuildJob[LoRA]) -> MethodResult:
    """`job.source` adapted to the recipe's task: IR and safetensors of the merged model, executed in float32, and the
    adapter. RecipeError when the model's images have another size, or its head has another name than `classifier`."""
    assert job.source is not None
    import torch

    recipe = job.recipe
    task = job.tasks.get(recipe.task, job.home, job.progress)
    torch.manual_seed(job.seed)
    model, preprocess = load_to_train(job.source, task.labels, cast(int, recipe.image_size))
    if not isinstance(getattr(model, HEAD, None), torch.nn.Linear):
        mend = "such a model: ViT, DeiT, BEiT, Swin"
        raise RecipeError(f"{type(model).__name__} has no linear head {HEAD!r}", field="recipe.architecture", mend=mend)
    adapted = with_adapter(model, recipe, target_modules="all-linear", exclude_modules=[HEAD], modules_to_save=[HEAD])
    return train_and_merge(job, task, adapted, preprocess)
