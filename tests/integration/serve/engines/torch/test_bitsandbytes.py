"""bitsandbytes folders: answered from weights that stay in their few bits, as transformers would answer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from serve.engines.torch.generator import computing_dtype, load
from tests.integration.serve.engines.engine import running
from tests.integration.serve.engines.tiny_text import write_tiny_text

pytestmark = pytest.mark.integration

CONFIGS: dict[str, dict[str, Any]] = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16},
    "int8": {"load_in_8bit": True},
}


@pytest.fixture(params=["nf4", "int8"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A tiny model quantized and stored before its first use: bitsandbytes repacks 4-bit weights at that, and what
    is stored afterwards is wrong."""
    parent = write_tiny_text(tmp_path / "parent")
    made = tmp_path / request.param
    model = AutoModelForCausalLM.from_pretrained(
        parent,
        dtype=torch.bfloat16,
        quantization_config=BitsAndBytesConfig(**CONFIGS[request.param]),
        device_map="cpu",
    )
    model.save_pretrained(made)
    AutoTokenizer.from_pretrained(parent).save_pretrained(made)
    return made


def test_it_answers_as_transformers_does(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=computing_dtype()).eval()
    ids = tokenizer("<user>a good film<assistant>", return_tensors="pt").input_ids
    with torch.inference_mode():
        expected = model(ids).logits[0, -1].float().log_softmax(-1)
    with running("torch.text", "--artifact", str(folder), "--name", "few-bits") as engine:
        body = {
            "model": "few-bits",
            "messages": [{"role": "user", "content": "a good film"}],
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": 5,
        }
        status, answer = engine.post("/v1/chat/completions", body)
    assert status == 200
    top = [entry["logprob"] for entry in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]]
    assert top == pytest.approx(expected.topk(5).values.tolist(), abs=0.05)


def test_weights_stay_in_their_bits_after_use(folder: Path) -> None:
    model, _ = load(folder)
    with torch.inference_mode():
        for size in (1, 3):
            model(torch.zeros(size, 4, dtype=torch.long))
    weight = model.model.layers[0].mlp.gate_proj.weight
    elements = 128 * 64
    assert weight.numel() * weight.element_size() == (elements // 2 if "nf4" in str(folder) else elements)
