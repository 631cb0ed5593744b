from pathlib import Path

import pytest

from serve.config import evidence_key
from serve.config.evidence_key import engines_hash
from serve.config.snapshot import ServedVariant, build_snapshot
from tests.support.family import Family


def both(tmp_path: Path, token_s: float = 0.02, build: int = 1) -> tuple[ServedVariant, ServedVariant]:
    family = Family(tmp_path, 8000)
    family.variants["int8"]["engine"] = {"kind": "scripted", "token_s": token_s}
    family.builds["int8"] = build
    served = build_snapshot(family.stack, family.artifacts).variants
    return served["echo", "baseline"], served["echo", "int8"]


def test_evidence_is_named_by_both_artifacts_and_their_engines(tmp_path: Path) -> None:
    parent, variant = both(tmp_path)
    key = evidence_key.evidence_key(parent, variant)
    assert key == f"{parent.manifest.digest}:{variant.manifest.digest}:{engines_hash(parent, variant)}"
    assert key == evidence_key.evidence_key(*both(tmp_path))
    assert key != evidence_key.evidence_key(*both(tmp_path, build=2))


def test_other_settings_of_an_engine_are_another_name(tmp_path: Path) -> None:
    parent, variant = both(tmp_path)
    assert engines_hash(parent, variant) != engines_hash(*both(tmp_path, token_s=0.5))
    assert engines_hash(parent, variant) == engines_hash(*both(tmp_path, build=2))


def test_other_versions_are_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = engines_hash(*both(tmp_path))
    monkeypatch.setattr(evidence_key, "versions", lambda: {"vllm": "another"})
    evidence_key._hash.cache_clear()
    assert engines_hash(*both(tmp_path)) != before
    evidence_key._hash.cache_clear()
