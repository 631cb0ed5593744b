"""LoRA for a Hugging Face image classifier: low-rank updates of every linear layer, and a new head, over frozen weights
(Hu et al. 2021, arXiv 2106.09685), by peft.

What is served is the merged model; the adapter alone lies beside it in `adapter/`, in peft's format.
"""

from typing import TYPE_CHECKING, cast

from variants import tasks
from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.image_classification.lora import learned
from variants.methods.image_classification.model import PACKAGES, load_to_train
from variants.recipes.recipe import LoRA

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

HEAD = "classifier"


def lora(job: BuildJob) -> MethodResult:
    """`job.source` adapted to the recipe's task: IR and safetensors of the merged model, executed in float32, and the
    adapter. RecipeError when the model's images have another size, or its head another name than `classifier`."""
    assert isinstance(job.recipe, LoRA)
    assert job.source is not None
    import torch

    recipe = job.recipe
    task = tasks.get(recipe.task, job.home, job.progress)
    torch.manual_seed(job.seed)
    published, preprocess = load_to_train(job.source, task.labels, cast(int, recipe.image_size))
    return learned(job, task, adapted(published, recipe), preprocess, (*PACKAGES, "peft"))


def adapted(model: "PreTrainedModel", recipe: LoRA) -> "PeftModel":
    """`model` with the recipe's adapter on every linear layer but the head, which is trained whole."""
    from peft import LoraConfig, get_peft_model
    from torch import nn

    if not isinstance(getattr(model, HEAD, None), nn.Linear):
        mend = "such a model: ViT, DeiT, BEiT, Swin"
        raise RecipeError(f"{type(model).__name__} has no linear head {HEAD!r}", field="recipe.architecture", mend=mend)
    config = LoraConfig(
        r=recipe.rank, lora_alpha=cast(int, recipe.alpha), target_modules="all-linear", exclude_modules=[HEAD],
        modules_to_save=[HEAD],
    )  # fmt: skip
    return cast("PeftModel", get_peft_model(model, config))
