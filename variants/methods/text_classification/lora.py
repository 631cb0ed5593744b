"""LoRA for a text classifier: low-rank updates of the encoder's linear layers, and a new head, over frozen weights
(Hu et al. 2021, arXiv 2106.09685).

What is served is the merged model: OpenVINO loads no adapters, and merged it costs nothing. The adapter alone lies
beside it in `adapter/`, in peft's format: a hundredth of the weights, for any other engine that holds the encoder.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

from variants import tasks
from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import first
from variants.methods.text_classification import fitting
from variants.methods.text_classification import model as text_classifier
from variants.recipes.recipe import LoRA

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

ADAPTER = "adapter"
CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
TOKENS = 128
"""Of a text in training: more cost time, and topics stand in the first words."""


def lora(job: BuildJob) -> MethodResult:
    """`job.source` adapted to the recipe's task: IR and safetensors of the merged model, executed in float32, and the
    adapter."""
    assert isinstance(job.recipe, LoRA)
    assert job.source is not None
    import torch

    recipe = job.recipe
    task = tasks.get(recipe.task, job.home, job.progress)
    examples = first(task, "train", recipe.steps * recipe.batch, "recipe.steps")
    torch.manual_seed(job.seed)
    with job.progress.step(f"reading {job.source.name}"):
        base, tokenizer = text_classifier.load_encoder(job.source, task.labels)
    model = adapted(base, recipe)
    data = fitting.encoded(examples, task.labels, tokenizer, min(TOKENS, tokenizer.model_max_length))
    with job.progress.step(f"training on {len(data)} texts", total=recipe.steps) as step:
        fitting.fit(
            base, data, step, epochs=1, batch=recipe.batch,
            learning_rate=recipe.learning_rate, seed=job.seed,
        )  # fmt: skip
    size = _save_adapter(model, job.source.name, job.out / ADAPTER)
    text_classifier.save(job, model.merge_and_unload(), tokenizer)
    note = f"{job.source.name}, merged with an adapter of {size:,} bytes trained on {len(data)} {task.name} texts"
    packages = (*text_classifier.PACKAGES, "peft")
    return MethodResult("f32", "openvino", note, packages, task.labels, served=text_classifier.SERVED)


def adapted(model: "PreTrainedModel", recipe: LoRA) -> "PeftModel":
    """`model` with the recipe's adapter, untrained, on every linear layer of the encoder; what is no part of the
    encoder is the head, and trained whole. It computes what `model` does."""
    import torch
    from peft import LoraConfig, get_peft_model

    encoder = model.base_model_prefix
    linear = {
        name.rpartition(".")[2] for name, part in model.base_model.named_modules() if isinstance(part, torch.nn.Linear)
    }
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=cast(int, recipe.alpha),
        target_modules=rf"{encoder}\..*\.({'|'.join(sorted(linear))})",
        modules_to_save=[name for name, _ in model.named_children() if name not in (encoder, "dropout")],
    )
    return cast("PeftModel", get_peft_model(model, config))


def _save_adapter(model: "PeftModel", base: str, folder: Path) -> int:
    """Write the adapter below `folder`, the same bytes for the same adapter; the bytes of its tensors' file."""
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # a form for a model card, not filled in
    config = json.loads((folder / CONFIG).read_text())
    config["base_model_name_or_path"] = base  # a name: peft writes the folder, which is this machine's
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return (folder / TENSORS).stat().st_size
