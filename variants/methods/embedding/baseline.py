"""Text encoders as OpenVINO IR: pooling and normalisation are part of the model.

The IR takes `input_ids` and `attention_mask`, int64 [batch, length], both dynamic, and returns `embedding`, float32
[batch, width]. That is the hidden states pooled over the mask, as in Sentence-BERT (Reimers and Gurevych 2019, arXiv
1908.10084, section 3), passed through the folder's dense layers, and scaled to length 1. So the dot product of two
embeddings is their cosine. The tokenizer is stored beside the IR and says how many tokens the model takes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from variants.errors import RecipeError, SourceError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.sentence_modules import PoolingMode, check_prompt, layers_after, read_modules
from variants.methods.text_encoder import lower_cased, most_tokens, write_encoder
from variants.recipes.recipe import Baseline

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGES = ("torch", "transformers", "tokenizers", "openvino")


def baseline(job: BuildJob[Baseline]) -> MethodResult:
    """The encoder of a Hugging Face or sentence-transformers folder, executed in float32, with all of the folder's
    modules. The pooling is the mean where the folder names none; the note says so then.

    RecipeError for another dtype. SourceError where transformers cannot read the folder, for another pooling, and for
    a module that is not computed here."""
    assert job.source is not None
    if job.recipe.dtype != "float32":
        raise RecipeError("an encoder's baseline is executed in float32", field="recipe.dtype", mend="float32")
    check_prompt(job.source)
    modules = read_modules(job.source)
    with job.progress.step(f"reading {job.source.name}"):
        model, tokenizer = load(modules.encoder)
        layers = layers_after(modules, model.config.hidden_size)
    with job.progress.step("converting to OpenVINO"):
        write_encoder(pooled(model, modules.pooling, layers), "embedding", tokenizer, job.out)
    pooling = f"{modules.pooling} pooling" + ("" if modules.is_named else " (a guess: the folder names none)")
    dense = "".join(f", {folder.name}" for folder in modules.after if folder)
    return MethodResult("f32", "openvino", f"weights as published; {pooling}{dense}, length 1", PACKAGES)


def load(folder: Path) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The encoder in float32 and its tokenizer, whose `model_max_length` is the most tokens that both can take.
    SourceError where transformers cannot read an encoder, or the folder has no weights for a part of it."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model, loading_info = AutoModel.from_pretrained(
            folder, dtype=torch.float32, weights_only=True, output_loading_info=True
        )
        tokenizer.model_max_length = most_tokens(tokenizer, model, folder)
        lower_cased(tokenizer, folder)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise SourceError(f"transformers cannot read an encoder in {folder}: {error}", field="source.uri") from error
    if model.config.is_encoder_decoder:
        message = f"{folder} holds an encoder with a decoder ({model.config.model_type})"
        raise SourceError(message, field="source.uri", mend="an encoder alone, as BERT")
    missing = sorted(name for name in loading_info["missing_keys"] if "pooler" not in name)  # poolers are not used
    if missing:
        message = f"{folder} has no weights for {', '.join(missing[:3])}"
        raise SourceError(message, field="source.uri", mend="a folder with all weights")
    return model.eval(), tokenizer


def pooled(model: "PreTrainedModel", pooling: PoolingMode, layers: "Sequence[nn.Module | None]" = ()) -> "nn.Module":
    """The encoder, followed by pooling, `layers` (None is a normalisation) and normalisation."""
    import torch

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model
            self.dense = torch.nn.ModuleList(layer for layer in layers if layer is not None)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden = self.inner(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            if pooling == "cls":
                vector = hidden[:, 0]
            else:
                kept = attention_mask.unsqueeze(-1).to(hidden.dtype)
                vector = (hidden * kept).sum(1) / kept.sum(1)
            for layer in layers:
                vector = torch.nn.functional.normalize(vector, dim=-1) if layer is None else layer(vector)
            return torch.nn.functional.normalize(vector, dim=-1)

    return Pooled().eval()
