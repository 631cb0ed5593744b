"""Text encoders as OpenVINO IR: pooling and normalisation are part of the model.

The IR takes `input_ids` and `attention_mask`, int64 [batch, length], both dynamic, and returns `embedding`, float32
[batch, width]. That is the hidden states pooled over the mask, as in Sentence-BERT (Reimers and Gurevych 2019, arXiv
1908.10084, section 3), scaled to length 1. So the dot product of two embeddings is their cosine. The tokenizer is
stored beside the IR and says how many tokens the model takes.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from variants.errors import RecipeError, SourceError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.text_encoder import Pooling, most_tokens, pooling_of, write_encoder
from variants.recipes.recipe import Baseline

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGES = ("torch", "transformers", "tokenizers", "openvino")


def baseline(job: BuildJob[Baseline]) -> MethodResult:
    """The encoder of a Hugging Face folder, executed in float32. Its `1_Pooling` names the pooling, else it is the
    mean. RecipeError for another dtype; SourceError where transformers cannot read the folder, or for another
    pooling."""
    assert job.source is not None
    if job.recipe.dtype != "float32":
        raise RecipeError("an encoder's baseline is executed in float32", field="recipe.dtype", mend="float32")
    pooling = pooling_of(job.source)
    with job.progress.step(f"reading {job.source.name}"):
        model, tokenizer = load(job.source)
    with job.progress.step("converting to OpenVINO"):
        write_encoder(pooled(model, pooling), "embedding", tokenizer, job.out)
    return MethodResult("f32", "openvino", f"weights as published; {pooling} pooling, length 1", PACKAGES)


def load(folder: Path) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The encoder in float32 and its tokenizer, whose `model_max_length` is the most tokens that both can take."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModel.from_pretrained(folder, dtype=torch.float32, weights_only=True)
        tokenizer.model_max_length = most_tokens(tokenizer, model, folder)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise SourceError(f"transformers cannot read an encoder in {folder}: {error}", field="source.uri") from error
    return model.eval(), tokenizer


def pooled(model: "PreTrainedModel", pooling: Pooling) -> "nn.Module":
    """The encoder, followed by pooling and normalisation."""
    import torch

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden = self.inner(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            if pooling == "cls":
                return torch.nn.functional.normalize(hidden[:, 0], dim=-1)
            kept = attention_mask.unsqueeze(-1).to(hidden.dtype)
            return torch.nn.functional.normalize((hidden * kept).sum(1) / kept.sum(1), dim=-1)

    return Pooled().eval()
