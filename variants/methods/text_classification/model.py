"""Text classifiers as OpenVINO IR, with weights beside it from which further variants are made.

The IR takes `input_ids` and `attention_mask`, int64 [batch, length], both dynamic. It returns `logits`, float32
[batch, classes]. A classifier that is trained here on a sentence encoder pools as the encoder does, by the mean over a
text's tokens. Classifiers of transformers read the first token instead, which such an encoder was never trained for.

The IR and the tokenizer are served. `config.json` and `model.safetensors` are beside them, in transformers' format. A
pruned classifier has matrices of other shapes than its configuration says, so the weights are read here by their
shapes.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from variants.artifacts.store import Artifact
from variants.errors import RecipeError, SourceError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.huggingface import REPORTED, check_vocabulary, check_weights, labels_of, new_head, reading
from variants.methods.openvino_ir import IR, SETTINGS, TOKENIZER, check_float32
from variants.methods.sentence_modules import read_modules
from variants.methods.text_encoder import most_tokens, write_encoder
from variants.recipes.recipe import Baseline

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGES = ("torch", "transformers", "tokenizers", "openvino", "safetensors")
WEIGHTS = "model.safetensors"
_MEND = "a classifier of texts, or train one: {kind: train-text, ...}"
_READS_LAST_END = ("bart", "mbart", "plbart", "mvp")


def baseline(job: BuildJob[Baseline]) -> MethodResult:
    """A Hugging Face classifier of texts (`AutoModelForSequenceClassification`) with its own labels, executed in
    float32. RecipeError for another dtype; SourceError where the folder holds no such classifier."""
    assert job.source is not None
    check_float32(job.recipe, "a text classifier's baseline")
    with job.progress.step(f"reading {job.source.name}"):
        model, tokenizer = load(job.source)
    save(job, model, tokenizer)
    return result("weights as published", labels_of(model))


def result(note: str, labels: tuple[str, ...] | None, *packages: str) -> MethodResult:
    """What every method returns that has called `save`. `packages` are those used besides this module's."""
    return MethodResult("f32", "openvino", note, (*PACKAGES, *packages), labels, served=(*IR, TOKENIZER, SETTINGS))


def load(folder: Path, labels: tuple[str, ...] | None = None) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The classifier in a Hugging Face folder, in float32, and its tokenizer, whose `model_max_length` is the most
    tokens that both can take. With `labels` it has a new head for these, on any encoder.

    SourceError where transformers cannot read the folder, or weights are missing. Without `labels` also where the
    folder holds no head for one class a text.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with reading(folder, "a text classifier"):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, **REPORTED, **new_head(labels)
        )
        tokenizer.model_max_length = most_tokens(tokenizer, model, folder)
    check_weights(folder, model, report, has_new_head=labels is not None, mend=_MEND)
    check_vocabulary(folder, model, tokenizer)
    if labels is None:
        check_head(model, folder)
    return model.eval(), tokenizer


def load_encoder(folder: Path, labels: tuple[str, ...]) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """`load`, with a new head for `labels`. It pools by the mean where the folder says that the encoder does."""
    modules = read_modules(folder)
    model, tokenizer = load(modules.encoder, labels)
    if modules.is_named and modules.pooling == "mean":
        pool_by_mean(model)
    return model, tokenizer


def check_head(model: "PreTrainedModel", folder: Path) -> None:
    """SourceError where the model does not choose one of several labels."""
    if len(model.config.id2label or {}) < 2 or model.config.problem_type not in (None, "single_label_classification"):
        kind = f"{len(model.config.id2label or {})} outputs, {model.config.problem_type}"
        raise SourceError(f"{folder} does not choose one of several labels ({kind})", field="source.uri", mend=_MEND)


def save(job: BuildJob, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
    """Write IR, tokenizer, configuration and weights below the job's `out`."""
    from safetensors.torch import save_model

    with job.progress.step("converting to OpenVINO"):
        write_encoder(logits_of(model), "logits", tokenizer, job.out)
        model.config.save_pretrained(job.out)
        save_model(model, str(job.out / WEIGHTS), metadata={"format": "pt"})


def pool_by_mean(model: "PreTrainedModel") -> None:
    """Make `logits` pool by the mean, in place, and remove the model's own pooling. RecipeError for a model whose head
    is more than one linear layer."""
    import torch

    if not isinstance(getattr(model, "classifier", None), torch.nn.Linear):
        kind = model.config.model_type
        raise RecipeError(f"the head of a {kind} does not take a mean", field="recipe.kind", mend="an encoder as BERT")
    model.config.understudy_pooling = "mean"
    encoder: Any = model.base_model
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None


def logits(model: Any, ids: "Tensor", mask: "Tensor") -> "Tensor":
    """The classifier's output, float32 [batch, classes], for token ids and their mask, int64 [batch, length].

    Transformers finds a decoder's last token by the id of padding, and BART's last `</s>` only where each text of a
    batch has as many. Here a decoder's last token is found by the mask, and BART's in each text."""
    scores: Tensor
    if getattr(model.config, "understudy_pooling", None) == "mean":
        hidden = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        kept = mask.unsqueeze(-1).to(hidden.dtype)
        scores = model.classifier((hidden * kept).sum(1) / kept.sum(1))
    elif hasattr(model, "score") and not model.config.is_encoder_decoder:
        hidden = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        scores = model.score(_at_last(hidden, mask))
    elif model.config.model_type in _READS_LAST_END:
        hidden = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        scores = model.classification_head(_at_last(hidden, mask * (ids == model.config.eos_token_id)))
    else:
        scores = model(input_ids=ids, attention_mask=mask).logits
    return scores


def _at_last(hidden: "Tensor", marked: "Tensor") -> "Tensor":
    """The state [batch, width] at the last position of each row that `marked`, int64 [batch, length], has as 1."""
    import torch

    positions = torch.arange(marked.shape[1]).unsqueeze(0)
    return hidden[torch.arange(hidden.shape[0]), (positions * marked).argmax(1)]


def logits_of(model: "PreTrainedModel") -> "nn.Module":
    """`logits` as a module, for the conversion to OpenVINO."""
    import torch

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return logits(self.inner, input_ids, attention_mask)

    return Logits().eval()


def of_artifact(parent: Artifact | None) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The classifier that an artifact holds, in float32 and in the stored shapes, and its tokenizer. RecipeError where
    there are no weights to train on: a quantized artifact has none."""
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
            outputs, inputs = stored[f"{name}.weight"].shape
            model.set_submodule(name, torch.nn.Linear(inputs, outputs, bias=module.bias is not None))
    model.load_state_dict(stored)
    return model.float().eval(), AutoTokenizer.from_pretrained(parent.model_path)
