import hashlib
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from variants.artifacts.manifest import MANIFEST, Manifest
from variants.artifacts.store import Artifact, Store, entries, hold, open_artifact
from variants.errors import IntegrityError, RecipeError, StoreFull, UnknownName
from variants.recipes.recipe import Baseline

KEY = "ab" * 32


def keep(store: Store, key: str = KEY, text: str = "weights") -> Artifact:
    with store.staging(key) as folder:
        (folder / "model").mkdir()
        (folder / "model" / "w.safetensors").write_text(text)
        (folder / "model" / "config.json").write_text("{}")
        files = entries(folder)
        manifest = Manifest(
            key=key, digest=Manifest.digest_of_files(files), model="m", variant="v", task="text-generation",
            method="test/1", precision="bf16", recipe=Baseline(dtype="bfloat16"), seed=0, parent=None,
            parent_digest=None, sources=(), files=files, bytes=9, versions={}, created=datetime.now(UTC),
            format="huggingface", labels=None, preprocess=None, note="made in a test",
        )  # fmt: skip
        return store.keep(folder, manifest)


def test_what_is_kept_opens_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept = keep(store)
    assert kept.path == tmp_path / "artifacts" / "ab" / KEY
    opened = store.open(KEY)
    assert opened.manifest == kept.manifest
    assert (opened.model_path / "w.safetensors").read_text() == "weights"
    assert set(opened.manifest.files) == {"model/w.safetensors", "model/config.json"}


def test_the_digest_is_over_sorted_names_and_hashes(tmp_path: Path) -> None:
    """The rule is public: anyone can compute an artifact's identity with sha256sum."""
    # printf 'model/config.json %s\nmodel/w.safetensors %s\n' $(printf '{}' | sha256sum | cut -c-64) \
    #     $(printf weights | sha256sum | cut -c-64) | sha256sum
    assert keep(Store(tmp_path)).manifest.digest == "e18ce39054a5fc5f0cadad3810940d5dd92425d8e3ea2cd585403c5ae5372bba"


def test_one_changed_byte_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    file = keep(store).path / "model" / "w.safetensors"
    file.write_text("weightS")
    with pytest.raises(IntegrityError, match=r"w\.safetensors: expected sha256 .* found"):
        store.open(KEY)


def test_a_missing_and_a_foreign_file_are_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = keep(store).path / "model"
    (folder / "more.bin").write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"more\.bin is not in the manifest"):
        store.open(KEY)
    (folder / "more.bin").unlink()
    (folder / "config.json").unlink()
    with pytest.raises(IntegrityError, match=r"config\.json is missing"):
        store.open(KEY)


@pytest.mark.parametrize(
    ("field", "value"),
    [("digest", "0" * 64), ("precision", "f32"), ("bytes", 1), ("labels", ["a"]), ("note", ""), ("seal", "0" * 64)],
)
def test_a_manifest_that_was_edited_is_found(tmp_path: Path, field: str, value: object) -> None:
    path = keep(Store(tmp_path)).path
    document = json.loads((path / MANIFEST).read_text())
    assert document[field] != value
    (path / MANIFEST).write_text(json.dumps(document | {field: value}))
    with pytest.raises(IntegrityError, match="was changed after it was written"):
        open_artifact(path)


def test_a_manifest_without_its_seal_is_found(tmp_path: Path) -> None:
    path = keep(Store(tmp_path)).path
    document = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps(document | {"schema": 1}))
    with pytest.raises(IntegrityError, match="seal"):
        open_artifact(path)
    del document["seal"]
    (path / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(IntegrityError, match="its seal is None"):
        open_artifact(path)
    (path / MANIFEST).write_text("{")
    with pytest.raises(IntegrityError, match="not a valid Manifest"):
        open_artifact(path)


def test_a_manifest_from_before_seals_is_read_and_its_files_are_checked(tmp_path: Path) -> None:
    path = keep(Store(tmp_path)).path
    document = json.loads((path / MANIFEST).read_text())
    del document["seal"]
    (path / MANIFEST).write_text(json.dumps(document | {"schema": 1}))
    assert open_artifact(path).manifest.precision == "bf16"
    (path / MANIFEST).write_text(json.dumps(document | {"schema": 1, "digest": "0" * 64}))
    with pytest.raises(IntegrityError, match="the files hash to"):
        open_artifact(path)


def test_the_seal_is_over_the_canonical_json_of_the_rest(tmp_path: Path) -> None:
    """The rule is public: jq -cS 'del(.seal)' manifest.json | tr -d '\\n' | sha256sum."""
    document = json.loads((keep(Store(tmp_path)).path / MANIFEST).read_text())
    seal = document.pop("seal")
    assert seal == hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def test_an_artifact_in_anothers_place_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept = keep(store)
    shutil.copytree(kept.path, store.path("cd" * 32))
    with pytest.raises(IntegrityError, match=f"it is the artifact of key {KEY}"):
        store.open("cd" * 32)


def test_a_folder_without_a_manifest_is_no_artifact_and_makes_room_for_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (keep(store).path / MANIFEST).unlink()
    with pytest.raises(IntegrityError, match="it is not an artifact"):
        open_artifact(store.path(KEY))
    with pytest.raises(UnknownName, match="build it first"):
        store.open(KEY)
    with pytest.raises(IntegrityError, match="it is not an artifact"), hold(store.path(KEY)):
        pass
    keep(store)
    assert store.open(KEY).manifest.key == KEY


def test_what_is_held_is_not_unused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = keep(store).path

    def unused() -> bool:
        with store.unused(KEY) as free:
            return free

    assert unused()
    with hold(path), hold(path):
        assert not unused()
    with store.hold(KEY):
        assert not unused()
    with store.staging(KEY):
        assert not unused()
    assert unused()


def test_what_is_discarded_is_gone_and_can_be_built_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keep(store)
    left = store.root / ".staging" / KEY
    left.mkdir(parents=True)
    (left / "half").write_text("of a collection that was killed")
    with store.unused(KEY) as free:
        assert free
        store.discard(KEY)
    assert not store.has(KEY)
    assert store.stored() == []
    assert list((store.root / ".staging").iterdir()) == []
    assert keep(store).manifest == store.open(KEY).manifest


def test_what_was_never_built_has_a_name_and_a_mend(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="build it first"):
        Store(tmp_path).open(KEY)
    with pytest.raises(IntegrityError, match="it is not an artifact"):
        open_artifact(tmp_path)


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fails() -> None:
        with store.staging(KEY) as folder:
            (folder / "half").write_text("half")
            raise RuntimeError("the method failed")

    with pytest.raises(RuntimeError, match="the method failed"):
        fails()
    assert not list((store.root / ".staging").iterdir())
    assert not store.has(KEY)


def test_what_a_dead_builder_left_is_removed_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / "artifacts" / ".staging" / ("cd" * 32)
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    keep(Store(tmp_path))
    assert not left.exists()


def test_what_a_living_builder_has_is_left_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.staging("cd" * 32) as other:
        (other / "half").write_text("half")
        keep(store)
        assert (other / "half").read_text() == "half"


def test_two_builders_may_tidy_up_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(100):
        (store.root / ".staging" / f"{number:064d}").mkdir(parents=True)
    together = threading.Barrier(2)

    def build(key: str) -> bool:
        together.wait()
        with store.staging(key) as folder:
            return folder.is_dir()

    with ThreadPoolExecutor(2) as builders:
        assert list(builders.map(build, ["ab" * 32, "cd" * 32])) == [True, True]


def finish_one(store: Store, end: BaseException) -> None:
    """Work on KEY that ends early, with one file finished."""
    with store.unfinished(KEY) as folder:
        folder.mkdir(parents=True)
        (folder / "first").write_text("finished")
        raise end


@pytest.mark.parametrize(
    ("end", "stays"),
    [
        (KeyboardInterrupt(), True),
        (SystemExit(), True),
        (MemoryError(), True),
        (StoreFull("full"), True),
        (OSError(), True),
        (ValueError(), False),
        (RecipeError("full"), False),
    ],
)
def test_what_is_finished_stays_where_the_same_build_may_go_on(tmp_path: Path, end: BaseException, stays: bool) -> None:
    store = Store(tmp_path)
    with pytest.raises(type(end)):
        finish_one(store, end)
    with store.unfinished(KEY) as folder:
        assert (folder / "first").exists() is stays
    assert not folder.exists()
    assert store.stored() == []
