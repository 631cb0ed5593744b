"""NF4 by bitsandbytes: linear layers in 4-bit normal floats, blocks of 64, computed in bfloat16. A quarter of the
memory; on CPU it is not faster, because every product widens the weights again. What is stored is the packed form, so
loading needs neither the parent nor a second quantization."""

from variants.methods.base import Job, Made
from variants.methods.causal import PACKAGES, check_follows, parent_of


def nf4(job: Job) -> Made:
    """The parent with every linear layer but the head in NF4, loadable by AutoModelForCausalLM."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    parent = parent_of(job)
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    with job.progress.step("quantizing to NF4"):
        tokenizer = AutoTokenizer.from_pretrained(parent)
        model = AutoModelForCausalLM.from_pretrained(
            parent, dtype=torch.bfloat16, quantization_config=config, device_map="cpu"
        )
    with job.progress.step("writing packed weights"):
        model.save_pretrained(job.out)
        tokenizer.save_pretrained(job.out)
    with job.progress.step("checking what was written"):
        # Never the model in memory: on a CPU with AVX512-BF16 its first forward pass repacks the weights in place.
        written = AutoModelForCausalLM.from_pretrained(job.out, device_map="cpu")
        check_follows(written, AutoModelForCausalLM.from_pretrained(parent, dtype=torch.bfloat16), tokenizer)
    note = "NF4 weights in blocks of 64, computed in bfloat16, from its parent"
    return Made("nf4", "huggingface", note, (*PACKAGES, "bitsandbytes"))
