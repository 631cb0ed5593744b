"""LLM.int8() by bitsandbytes (Dettmers et al. 2022, arXiv 2208.07339): int8 weights a row, activations rounded a token
as they come, and the few input features that reach 6 kept out of it and multiplied in bfloat16. Half of the memory; on
a CPU it is not faster: what it needs at every step outweighs what int8 saves. The packed form is stored, so loading
needs no parent."""

from variants.methods.base import Job, Made
from variants.methods.causal import PACKAGES, check_follows, trainable_parent_of


def llm_int8(job: Job) -> Made:
    """The parent with every linear layer but the head in int8, loadable by AutoModelForCausalLM."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    parent = trainable_parent_of(job)
    with job.progress.step("quantizing to LLM.int8()"):
        tokenizer = AutoTokenizer.from_pretrained(parent)
        model = AutoModelForCausalLM.from_pretrained(
            parent,
            dtype=torch.bfloat16,
            quantization_config=BitsAndBytesConfig(load_in_8bit=True),
            device_map="cpu",
        )
    with job.progress.step("writing int8 weights"):
        model.save_pretrained(job.out)
        tokenizer.save_pretrained(job.out)
    with job.progress.step("checking what was written"):
        written = AutoModelForCausalLM.from_pretrained(job.out, device_map="cpu")
        check_follows(written, AutoModelForCausalLM.from_pretrained(parent, dtype=torch.bfloat16), tokenizer)
    note = "LLM.int8(): int8 weights a row, features of 6 and more in bfloat16, from its parent"
    return Made("int8", "huggingface", note, (*PACKAGES, "bitsandbytes"))
