"""A stack that no engine could serve is refused before anything is built."""

import json
from pathlib import Path

import pytest

from serve.config.artifacts import build_stack
from serve.config.loader import parse
from variants.errors import StackError


@pytest.mark.parametrize("kind", ["vllm", "torch"])  # `torch` served text until vLLM did
def test_a_context_above_the_positions_of_a_local_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "gpt2" / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_positions": 1024}))
    variant = {
        "recipe": {"kind": "baseline", "dtype": "float32"},
        "engine": {"kind": kind, "context": 1025},
        "weight": 1,
    }
    source = {"uri": str(tmp_path / "gpt2"), "licence": "none"}
    model = {"task": "text-generation", "source": source, "variants": {"baseline": variant}}
    with pytest.raises(StackError) as refused:
        build_stack(parse({"schema": 1, "models": {"gpt2": model}}))
    assert refused.value.field == "models.gpt2.variants.baseline.engine.context"
    assert "1024" in str(refused.value.mend)
    assert not (tmp_path / "home").exists()
