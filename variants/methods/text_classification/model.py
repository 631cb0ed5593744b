"""Text classifiers as OpenVINO IR, with the weights that can be trained on beside it.

The IR takes `input_ids` and `attention_mask`, int64 [batch, length], both free, and gives `logits`, float32 [batch,
classes]. A classifier that is trained here on a sentence encoder pools as that does, by the mean over a text's tokens:
its first token, which transformers' classifiers look at, was never trained to say anything.

Served are the IR and the tokenizer. `config.json` and `model.safetensors` lie beside them, as transformers has them,
for whatever is made of a variant: a classifier with fewer heads has matrices of other shapes than its configuration
alone would give, so these weights are read here and by their shapes.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from variants.artifacts.store import Artifact
from variants.errors import RecipeError, SourceError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.openvino_ir import IR
from variants.methods.text_encoder import SETTINGS, TOKENIZER, most_tokens, pooling_of, write_encoder
from variants.recipes.recipe import Baseline

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGES = ("torch", "transformers", "tokenizers", "openvino", "safetensors")
WEIGHTS = "model.safetensors"
SERVED = (*IR, TOKENIZER, SETTINGS)


def baseline(job: BuildJob) -> MethodResult:
    """A Hugging Face classifier of texts (`AutoModelForSequenceClassification`), its labels its own, executed in
    float32. RecipeError for another dtype; SourceError where the folder holds no such classifier."""
    assert isinstance(job.recipe, Baseline)
    assert job.source is not None
    if job.recipe.dtype != "float32":
        mend = "float32; bfloat16 is a variant of its own: {kind: quantize, scheme: bf16}"
        raise RecipeError("a text classifier's baseline is executed in float32", field="recipe.dtype", mend=mend)
    with job.progress.step(f"reading {job.source.name}"):
        model, tokenizer = load(job.source)
    names: dict[int, str] = model.config.id2label  # type: ignore[assignment]
    labels = tuple(names[index] for index in sorted(names))
    save(job, model, tokenizer)
    return MethodResult("f32", "openvino", "weights as published", PACKAGES, labels, served=SERVED)


def load(folder: Path, labels: tuple[str, ...] | None = None) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The classifier in a Hugging Face folder, in float32, and its tokenizer, whose `model_max_length` is the most
    tokens that both can take. With `labels` it has a new head for these, on whatever encoder the folder holds.

    SourceError where transformers cannot read the folder, or, without `labels`, where it holds no head for one class
    a text: what it would put in its place is noise.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    head: dict[str, Any] = {}
    if labels is not None:
        names = dict(enumerate(labels))
        head = {"num_labels": len(labels), "id2label": names, "label2id": {name: i for i, name in names.items()}}
        head["ignore_mismatched_sizes"] = True
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model, loading_info = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, weights_only=True, output_loading_info=True, **head
        )
        tokenizer.model_max_length = most_tokens(tokenizer, model, folder)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise SourceError(
            f"transformers cannot read a text classifier in {folder}: {error}", field="source.uri"
        ) from error
    if labels is None:
        check_head(model, folder, sorted(loading_info["missing_keys"]))
    return model.eval(), tokenizer


def load_encoder(folder: Path, labels: tuple[str, ...]) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """`load`, with a new head for `labels`, which takes the mean where the folder says that sentences are pooled so."""
    model, tokenizer = load(folder, labels)
    if (folder / "1_Pooling").is_dir() and pooling_of(folder) == "mean":
        pool_by_mean(model)
    return model, tokenizer


def check_head(model: "PreTrainedModel", folder: Path, missing: list[str]) -> None:
    mend = "a classifier of texts, or train one: {kind: train-text, ...}"
    if missing:
        raise SourceError(f"{folder} has no weights for {', '.join(missing)}", field="source.uri", mend=mend)
    if len(model.config.id2label or {}) < 2 or model.config.problem_type not in (None, "single_label_classification"):
        kind = f"{len(model.config.id2label or {})} outputs, {model.config.problem_type}"
        raise SourceError(f"{folder} does not choose one of several labels ({kind})", field="source.uri", mend=mend)


def save(job: BuildJob, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
    """Write IR, tokenizer, configuration and weights below the job's `out`."""
    with job.progress.step("converting to OpenVINO"):
        write_encoder(logits_of(model), "logits", job.out)
        tokenizer.save_pretrained(job.out)
        if not (job.out / TOKENIZER).is_file():
            raise SourceError(f"its tokenizer has no {TOKENIZER} form", field="source.uri")
        write_weights(model, job.out)


def write_weights(model: "PreTrainedModel", out: Path) -> None:
    from safetensors.torch import save_model

    model.config.save_pretrained(out)
    save_model(model, str(out / WEIGHTS), metadata={"format": "pt"})


def pool_by_mean(model: "PreTrainedModel") -> None:
    """Have `logits` pool by the mean, in place; what pooled before goes. RecipeError for a model whose head is more
    than one linear layer."""
    import torch

    if not isinstance(getattr(model, "classifier", None), torch.nn.Linear):
        kind = model.config.model_type
        raise RecipeError(f"the head of a {kind} does not take a mean", field="recipe.kind", mend="an encoder as BERT")
    model.config.understudy_pooling = "mean"
    encoder: Any = model.base_model
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None


def logits(model: Any, ids: "Tensor", mask: "Tensor") -> "Tensor":
    """What the classifier says of tokens, int64 [batch, length]: float32 [batch, classes]."""
    scores: Tensor
    if getattr(model.config, "understudy_pooling", None) != "mean":
        scores = model(input_ids=ids, attention_mask=mask).logits
    else:
        hidden = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        kept = mask.unsqueeze(-1).to(hidden.dtype)
        scores = model.classifier((hidden * kept).sum(1) / kept.sum(1))
    return scores


def logits_of(model: "PreTrainedModel") -> "nn.Module":
    """`logits` as a module, to be converted."""
    import torch

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return logits(self.inner, input_ids, attention_mask)

    return Logits().eval()


def of_artifact(parent: Artifact | None) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The classifier that an artifact holds, in float32, in the shapes that are stored, and its tokenizer. RecipeError
    where there are no weights to train on: what is quantized has none."""
    if parent is None or not (parent.model_path / WEIGHTS).is_file() or parent.manifest.labels is None:
        mend = "name a variant in f32, e.g. the baseline"
        raise RecipeError("needs a parent with weights that can be trained on", field="parent", mend=mend)
    import torch
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    stored = load_file(parent.model_path / WEIGHTS)
    model = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(parent.model_path))
    if getattr(model.config, "understudy_pooling", None) == "mean":
        pool_by_mean(model)
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and module.weight.shape != stored[f"{name}.weight"].shape:
            wide, deep = stored[f"{name}.weight"].shape
            model.set_submodule(name, torch.nn.Linear(deep, wide, bias=module.bias is not None))
    model.load_state_dict(stored)
    return model.float().eval(), AutoTokenizer.from_pretrained(parent.model_path)
