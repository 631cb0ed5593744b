"""A model whose tokenizer has a token a byte, as Llama 2 has. On vLLM as it is started here, its answers go on after
bytes that are no character."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.serve.engines.engine import Engine, running_vllm, write_manifest
from tests.integration.variants.tiny_makes import SIZES, write

pytestmark = pytest.mark.integration
NAME = "tiny@baseline"
WORDS = ["▁", "▁a", "▁the", "a", "b", "e", "t"]
NAMES = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *WORDS]
ALLOWED = [*range(NAMES.index("<0x80>"), len(NAMES))]
"""Words, and bytes that are no letter by themselves: each letter of an answer is a word's."""
TOKENS = 200


def byte_fallback() -> Any:
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {name: token for token, name in enumerate(NAMES)}
    plain = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token=NAMES[0]))
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    plain.decoder = decoders.Sequence(parts)
    plain.add_special_tokens(["<s>", "</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=plain, bos_token=NAMES[1], eos_token=NAMES[2])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("byte-fallback")
    write(folder / "model", "LlamaForCausalLM", byte_fallback(), bos_token_id=1, eos_token_id=2, **SIZES)
    write_manifest(folder)
    with running_vllm(folder, NAME, context=256, kv_cache_mib=16, sequences=4) as started:
        yield started


def asked(seed: int, **more: Any) -> dict[str, Any]:
    only = {"allowed_token_ids": ALLOWED, "ignore_eos": True, "return_token_ids": True}
    return {"model": NAME, "prompt": "ab", "max_tokens": TOKENS, "temperature": 1, "seed": seed} | only | more


def streamed(engine: Engine, body: dict[str, Any]) -> tuple[str, list[int], str]:
    """The text, the tokens and the last event of a stream."""
    text, tokens, last = "", list[int](), ""
    with httpx.stream("POST", f"{engine.url}/v1/completions", json=body | {"stream": True}, timeout=60) as answer:
        for line in answer.iter_lines():
            last = line.removeprefix("data: ") or last
            if line.startswith("data: {"):
                (choice,) = json.loads(last)["choices"]
                text, tokens = text + choice["text"], tokens + (choice.get("token_ids") or [])
    return text, tokens, last


@pytest.mark.parametrize("seed", range(5))
def test_no_word_is_lost_beside_bytes_that_are_no_character(engine: Engine, seed: int) -> None:
    status, answer = engine.post("/v1/completions", asked(seed))
    assert status == 200
    (choice,) = answer["choices"]
    assert (choice["finish_reason"], answer["usage"]["completion_tokens"]) == ("length", TOKENS)
    words = [NAMES[token] for token in choice["token_ids"]]
    assert len(words) == TOKENS
    assert any(word.startswith("<0x") for word in words)
    wanted = "".join(word.replace("▁", " ") for word in words if word in WORDS)
    assert len(wanted) > 2
    assert "".join(letter for letter in choice["text"] if letter.isascii()) == wanted
    assert "\ufffd" in choice["text"]
    text, tokens, last = streamed(engine, asked(seed))
    assert last == "[DONE]"
    assert (text, tokens) == (choice["text"], choice["token_ids"])


@pytest.mark.parametrize(("rest", "shown"), [("<0xA0>", ("", "你")), ("▁a", (" a",))])
def test_a_prompt_that_ends_within_a_character_is_not_shown(engine: Engine, rest: str, shown: tuple[str, ...]) -> None:
    prompt = [NAMES.index(name) for name in ("▁the", "<0xE4>", "<0xBD>")]
    body = asked(0, prompt=prompt, max_tokens=1, allowed_token_ids=[NAMES.index(rest)])
    status, answer = engine.post("/v1/completions", body)
    assert status == 200
    assert answer["choices"][0]["text"].replace("\ufffd", "") in shown
