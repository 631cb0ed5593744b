"""The largest context of a model is what vLLM itself takes of its configuration."""

import json
from pathlib import Path
from typing import Any

import pytest

from serve.config.model_folder import most_positions

pytestmark = pytest.mark.integration
LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 1024,
}
GPT2 = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "vocab_size": 320,
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 512,
}
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 128}


@pytest.mark.parametrize(
    "config",
    [
        LLAMA,
        GPT2,
        LLAMA | {"model_max_length": 4096},
        LLAMA | {"rope_scaling": {"type": "linear", "factor": 2.0}},
        LLAMA | {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}},
        LLAMA | {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, **LLAMA3}},
        LLAMA | {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}},
    ],
)
def test_positions_are_vllms(tmp_path: Path, config: dict[str, Any]) -> None:
    from vllm.config import ModelConfig

    (tmp_path / "config.json").write_text(json.dumps(config))
    most = most_positions(config)
    assert most is not None
    for context in (most, None):
        taken = ModelConfig(model=str(tmp_path), skip_tokenizer_init=True, max_model_len=context or -1)
        assert taken.max_model_len == most
    with pytest.raises(ValueError, match="max_model_len"):
        ModelConfig(model=str(tmp_path), skip_tokenizer_init=True, max_model_len=most + 1)
