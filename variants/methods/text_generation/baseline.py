"""Text baselines: a GGUF file or a Hugging Face folder becomes a Hugging Face folder that engines load.

Weights of a GGUF file are widened from its blocks to the recipe's dtype. What the publisher's rounding lost stays lost,
and the manifest's note names that rounding. The chat template is part of the result. The model is written only if it
generates text.
"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from variants.artifacts.manifest import Precision
from variants.errors import IntegrityError, RecipeError, SourceError
from variants.machine import device, multiplies_bfloat16
from variants.methods.base import BuildJob, MethodResult
from variants.methods.huggingface import REPORTED, check_vocabulary, check_weights, reading, vocabulary_of
from variants.recipes.recipe import Baseline

if TYPE_CHECKING:
    import torch
    from torch.nn import Linear
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGES = ("torch", "transformers", "safetensors", "gguf")
_PRECISIONS: dict[str, Precision] = {"bfloat16": "bf16", "float32": "f32"}


def baseline(job: BuildJob[Baseline]) -> MethodResult:
    """`job.source` (a .gguf file or a folder) as a folder in the recipe's dtype, with tokenizer, chat template and
    generation config. SourceError when transformers cannot read it or the model does not generate."""
    assert job.source is not None
    with job.progress.step(f"reading {job.source.name}"):
        model, tokenizer = load(job.source, job.recipe.dtype)
    check_and_write(job, model, tokenizer)
    return MethodResult(_PRECISIONS[job.recipe.dtype], "huggingface", _note(job.source, job.recipe.dtype), PACKAGES)


def fp16(job: BuildJob) -> MethodResult:
    """The parent in float16: an eighth of bfloat16's rounding, but no value above 65,504. SourceError where its logits
    are not finite then."""
    from variants.methods.text_generation.loss import Gauge

    gauge = Gauge(job, *load(parent_of(job), "bfloat16"))
    with job.progress.step("rounding to float16"):
        model, tokenizer = load(parent_of(job), "float16")
    check_and_write(job, model, tokenizer)
    note = "its parent's weights, rounded to float16"
    return MethodResult("f16", "huggingface", note, PACKAGES, loss=gauge.loss(model))


def check_and_write(job: BuildJob, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
    """Write model and tokenizer below the job's `out`, after `check_generates`."""
    with job.progress.step("checking that it generates"):
        check_generates(model, tokenizer)
    write(job, model, tokenizer)


def write(job: BuildJob, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", **options: Any) -> None:
    """Write model and tokenizer below the job's `out`. `options` go to `save_pretrained`."""
    with job.progress.step("writing safetensors"):
        model.save_pretrained(job.out, **options)
        tokenizer.save_pretrained(job.out)


def load(source: Path, dtype: str) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Model and tokenizer in `dtype` ("bfloat16", "float16" or "float32"), on CPU, without remote code. Of a pickle
    only tensors are read. SourceError where transformers cannot read the source, or the source lacks weights."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder, options = source, {}
    if source.is_file():
        if source.suffix != ".gguf":
            raise SourceError(
                f"{source.name} is neither a folder nor a .gguf file", field="source.uri", mend="name one of the two"
            )
        folder, options = source.parent, {"gguf_file": source.name}
    kind: Any = AutoModelForCausalLM  # typed without the report
    with reading(source, "a text model"):
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        model, report = kind.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            **REPORTED,
            **options,
            **({"quantization_config": GgufConfig(dequantize=True)} if options else {}),
        )
    check_weights(source, model, report)
    check_vocabulary(source, model, tokenizer)
    tokenizer.model_max_length = min([tokenizer.model_max_length, *_positions(model)])
    return model.eval(), tokenizer


def _positions(model: "PreTrainedModel") -> list[int]:
    """The most tokens that the configuration names, in a list; an empty one where positions are unlimited (ALiBi in
    Bloom, or a state as in Mamba)."""
    named = (getattr(model.config, name, None) for name in ("max_position_embeddings", "max_seq_len", "seq_length"))
    return [length for length in named if isinstance(length, int) and length > 0][:1]


def linear_layers(model: "PreTrainedModel") -> "dict[str, Linear]":
    """All linear layers but the output head, by name."""
    import torch

    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }


def check_generates(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", tokens: int = 8) -> str:
    """Generate greedily after a question (as a chat where there is a template) and return the text.

    SourceError when a token has no row in the model, a logit is not finite, or no token is generated: weights and
    tokenizer do not fit each other.
    """
    import torch

    prompt = "What is the capital of France?"
    if tokenizer.chat_template:
        messages = [{"role": "user", "content": prompt}]
        prompt = str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
    encoded = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False).to(model.device)
    length = encoded["input_ids"].shape[1]
    largest, rows = int(encoded["input_ids"].max()), vocabulary_of(model)
    if rows is not None and largest >= rows:
        message = f"the tokenizer writes {tokenizer.convert_ids_to_tokens(largest)!r} as {largest}, of {rows} ids"
        raise SourceError(message, field="source", mend="tokenizer and weights of one model")
    with torch.inference_mode():
        if not torch.isfinite(model(**encoded).logits[:, -1]).all():
            raise SourceError("the model's logits are not finite", field="source", mend="check the weights")
        ids = cast(Any, model).generate(**encoded, max_new_tokens=tokens, do_sample=False)
    answer = cast(torch.Tensor, ids)[0, length:]
    if len(answer) == 0:
        raise SourceError("the model generates nothing", field="source", mend="check weights and tokenizer")
    return str(tokenizer.decode(answer, skip_special_tokens=True))


def next_tokens(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> "torch.Tensor":
    """Log-probabilities of the next token at each place of a fixed text: float32 [1, tokens, vocabulary]."""
    import torch

    text = "The river rose in the night, and by morning the bridge at the old mill was under water."
    encoded = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
    with torch.inference_mode():
        return torch.log_softmax(model(**encoded.to(model.device)).logits.float().cpu(), dim=-1)


def check_follows(model: "PreTrainedModel", wanted: "torch.Tensor", tokenizer: "PreTrainedTokenizerBase") -> float:
    """Mean KL divergence in nats from the parent's distributions, `wanted` by `next_tokens`, to the model's.

    IntegrityError above 1 nat: compressed weights diverge by a tenth of that, wrongly stored weights by several nats.
    """
    import torch

    predicted = next_tokens(model, tokenizer)
    divergence = float(torch.nn.functional.kl_div(predicted, wanted, log_target=True, reduction="none").sum(-1).mean())
    if not divergence <= 1:
        raise IntegrityError(f"the written model does not follow its parent: {divergence:.2f} nats a token apart")
    return divergence


def _note(source: Path, dtype: str) -> str:
    if source.suffix != ".gguf":
        return f"weights as published, as {dtype}"
    from gguf import GGUFReader

    elements: Counter[str] = Counter()
    for tensor in GGUFReader(source).tensors:
        elements[tensor.tensor_type.name] += int(tensor.n_elements)
    most, count = elements.most_common(1)[0]
    share = 100 * count / elements.total()
    return f"widened to {dtype} from {source.name}, which its publisher had rounded to {most} ({share:.0f} % of it)"


def parent_of(job: BuildJob, precisions: tuple[Precision, ...] = ("bf16", "f32")) -> Path:
    """The parent's Hugging Face folder. RecipeError when there is no parent, or it has another format or precision."""
    if job.parent is not None and job.parent.manifest.format == "adapter":
        raise RecipeError("needs weights, not an adapter", field="parent", mend="put a variant of kind merge between")
    if job.parent is None or job.parent.manifest.format != "huggingface":
        raise RecipeError("needs a parent in Hugging Face form", field="parent", mend="name a text variant")
    precision = job.parent.manifest.precision
    if precision not in precisions:
        raise RecipeError(f"needs unquantized weights, not {precision}", field="parent", mend="name the baseline")
    return job.parent.model_path


def computing_dtype() -> str:
    """The dtype of training and calibration: bfloat16 on a GPU or where the CPU multiplies it natively (AVX-512 or AMX
    on x86), else float32. Without native support, torch needs seven times as long for bfloat16."""
    return "bfloat16" if device() == "cuda" or multiplies_bfloat16() else "float32"
