"""Low-rank adapters by peft, for every model family: added to a model, and written to disk."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from variants.recipes.recipe import LoRA

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn

FOLDER = "adapter"  # below an artifact that serves the merged model


def with_adapter(model: "nn.Module", recipe: LoRA, **options: Any) -> "PeftModel":
    """`model` with the recipe's adapter, untrained, so that it computes what `model` does. `options` name the layers:
    see `peft.LoraConfig`."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=recipe.rank, lora_alpha=cast(int, recipe.alpha), **options)
    return cast("PeftModel", get_peft_model(cast(Any, model), config))


def write_adapter(model: "PeftModel", folder: Path, **config: Any) -> int:
    """Write the adapter below `folder`, and return the size of its tensors' file in bytes. `config` replaces values of
    adapter_config.json that differ between machines or runs: peft writes the base model's path and an unordered set of
    layers."""
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # an empty form for a model card
    if config:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config, indent=2, sort_keys=True) + "\n")
    return (folder / "adapter_model.safetensors").stat().st_size
