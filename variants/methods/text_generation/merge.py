"""A low-rank adapter added to the weights that it was trained on: W + B A alpha / rank (Hu et al. 2021, arXiv
2106.09685, section 4.1). The result is dense, costs no more to serve than its base, and can be quantized.

The sum is computed in float32 and rounded once to bfloat16. An engine that adds the adapter's product to each layer's
output rounds differently, so the written model is compared with such a computation.
"""

from variants.artifacts.adapter import check_adapter
from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.text_generation.baseline import PACKAGES, check_follows, check_generates, load, next_tokens

_WEIGHTS = ("bf16", "f32")


def merge(job: BuildJob) -> MethodResult:
    """The adapter's base with the adapter added, in bfloat16, plain Hugging Face. RecipeError, before any work, when
    the parent is no adapter, or its base is quantized or another build."""
    adapter, base = job.parent, job.base
    if adapter is None or base is None:
        raise RecipeError("merge needs a parent that is an adapter", field="parent", mend="name a variant of kind lora")
    check_adapter(adapter, base.manifest, max_rank=2**16)
    if base.manifest.precision not in _WEIGHTS:
        raise RecipeError(f"an adapter on {base.manifest.precision} weights is not merged", field="parent")
    import torch
    from peft import PeftModel

    with job.progress.step("adding the adapter"):
        model, tokenizer = load(base.model_path, "float32")
        merged = PeftModel.from_pretrained(model, adapter.model_path).merge_and_unload(safe_merge=True)
        merged.to(torch.bfloat16)
    with job.progress.step("writing safetensors"):
        merged.save_pretrained(job.out)
        tokenizer.save_pretrained(job.out)
    with job.progress.step("checking what was written"):
        written, _ = load(job.out, "bfloat16")
        check_generates(written, tokenizer)
        plain, _ = load(base.model_path, "bfloat16")
        live = PeftModel.from_pretrained(plain, adapter.model_path).eval()
        check_follows(written, next_tokens(live, tokenizer), tokenizer)  # type: ignore[arg-type]
    note = f"{base.manifest.variant} with {adapter.manifest.variant} added: {adapter.manifest.note}"
    return MethodResult("bf16", "huggingface", note, (*PACKAGES, "peft"))
