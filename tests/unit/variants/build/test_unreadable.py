"""A damaged artifact among others, of every kind: the others are whole, and this one has its error and its digest."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.variants.build.test_builder import W8A8, World
from variants.artifacts.store import MANIFEST
from variants.build.builder import VariantRef, build
from variants.errors import IntegrityError


def closed(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every folder")
    folder.chmod(0)


def a_folder_for_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "another hash": lambda folder: (folder / "model" / "text").write_text("damaged"),
    "a missing file": lambda folder: (folder / "model" / "text").unlink(),
    "no JSON": lambda folder: (folder / MANIFEST).write_text("no JSON"),
    "a cut manifest": lambda folder: (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes()[:200]),
    "an empty manifest": lambda folder: (folder / MANIFEST).write_bytes(b""),
    "another seal": lambda folder: (folder / MANIFEST).write_text(
        (folder / MANIFEST).read_text().replace('"bf16"', '"f32"')
    ),
    "no manifest": lambda folder: (folder / MANIFEST).unlink(),
    "a folder in the manifest's place": a_folder_for_manifest,
    "no permission": closed,
}


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("hurt", ["base", "twin"])
def test_one_damaged_artifact_leaves_the_others(name: str, hurt: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    plans = [world.plan("base"), world.plan("int8", "base", W8A8), world.plan("twin")]
    keys, ran = world.build(*plans), list(world.ran)
    digests = {variant: world.digests(variant) for variant in ("base", "int8", "twin")}
    folder = world.store.path(keys["m", hurt])
    DAMAGE[name](folder)
    damaged: dict[VariantRef, IntegrityError] = {}
    artifacts = build(plans, world.store, world.catalog, method_for=world.method_for, damaged=damaged)
    folder.chmod(0o755)
    assert list(damaged) == [("m", hurt)]
    assert str(folder) in str(damaged["m", hurt])
    assert world.ran == ran  # nothing is built meanwhile
    for (_, variant), artifact in artifacts.items():
        manifest = artifact.manifest
        assert (manifest.variant, manifest.key, [manifest.digest]) == (variant, keys["m", variant], digests[variant])
        assert world.digests(variant) == digests[variant]
    assert artifacts["m", "int8"].manifest.parent_digest == digests["base"][0]


def test_without_leave_a_damaged_artifact_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    keys = world.build(world.plan("base"))
    (world.store.path(keys["m", "base"]) / MANIFEST).write_text("no JSON")
    with pytest.raises(IntegrityError):
        world.build(world.plan("base"))
