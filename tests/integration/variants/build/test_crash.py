"""Builders that are killed, interrupted, doubled, or run out of disk: the store is whole at every moment after."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
import yaml

from tests.integration.variants.family import FILES, make, plans
from tests.support.recipes import parse_recipe
from variants.artifacts.catalog import Catalog
from variants.artifacts.manifest import MANIFEST
from variants.artifacts.store import Store, open_artifact
from variants.build.builder import VariantPlan, build
from variants.build.garbage import collect
from variants.errors import StoreFull
from variants.methods.registry import BuildJob, Method, MethodResult
from variants.recipes.source import Source

pytestmark = pytest.mark.integration
KILLS = 50 if "UNDERSTUDY_LONG" in os.environ else 20
PAUSE = 0.012
ROOT = Path(__file__).resolve().parents[4]
# Children of a server that has imported what they need and nothing more: they begin within milliseconds.
SPAWN = multiprocessing.get_context("forkserver")
SPAWN.set_forkserver_preload(["tests.integration.variants.family"])


def begin_and_make(home: Path, source: Path, pause: float, begun: Event) -> None:
    begun.set()
    make(home, source, pause)


def collect_all(home: Path, begun: Event) -> None:
    begun.set()
    collect(Store(home), Catalog(home), keep=0)


def start(target: object, *arguments: object) -> BaseProcess:
    """A child that is at work by now."""
    begun = SPAWN.Event()
    child = SPAWN.Process(target=target, args=(*arguments, begun))  # type: ignore[arg-type]
    child.start()
    assert begun.wait(60)
    return child


def check(home: Path) -> int:
    """Every artifact that can be seen is whole, and so is all that the catalog names; gives how many there are."""
    store = Store(home)
    for key in store.stored():
        assert store.open(key).manifest.files.keys() == {f"model/part-{number}" for number in range(FILES)}
    for entry in Catalog(home).entries():
        for history in entry.variants.values():
            for binding in history:
                assert store.open(binding.key).manifest.digest == binding.digest
    return len(store.stored())


def test_kills_at_random_moments_leave_a_whole_store(tmp_path: Path) -> None:
    """The moments are spread evenly over one build, bookkeeping at both ends included; a home lives through ten."""
    home, source = tmp_path / "first", tmp_path / "source"
    source.write_text("to time one build")
    child = start(begin_and_make, home, source, PAUSE)
    began = time.monotonic()
    child.join(60)
    length = time.monotonic() - began
    assert child.exitcode == 0
    draw, tries = random.Random(0), 0
    finished: list[int] = []
    while len(finished) < KILLS:
        tries += 1
        assert tries < 4 * KILLS, "most builds ended before they could be killed"
        home = tmp_path / f"home-{tries // 10}"
        source.write_text(f"source {tries}")
        before = len(Store(home).stored())
        child = start(begin_and_make, home, source, PAUSE)
        time.sleep(draw.uniform(0, length))
        child.kill()
        child.join(60)
        made = check(home) - before
        if child.exitcode == -signal.SIGKILL:
            finished.append(made)
        make(home, source)
        assert check(home) - before == 3
        assert list((home / "artifacts" / ".staging").iterdir()) == []
        assert [path.name for path in (home / "catalog").glob(".*")] == [".lock"]
    assert {0, 1, 2} <= set(finished), "no kill fell into the second, or the third, artifact"


def test_kills_of_a_collection_leave_a_whole_store(tmp_path: Path) -> None:
    home, source = tmp_path / "home", tmp_path / "source"
    draw, killed = random.Random(1), 0
    for number in range(8):
        for generation in range(3):
            source.write_text(f"source {number} {generation}")
            make(home, source)
        child = start(collect_all, home)
        time.sleep(draw.uniform(0, 0.03))
        child.kill()
        child.join(60)
        killed += child.exitcode == -signal.SIGKILL
        check(home)
    collect(Store(home), Catalog(home), keep=0)
    assert killed > 0
    assert check(home) == 3
    assert list((home / "artifacts" / ".staging").iterdir()) == []


def test_two_builders_at_once_make_one_artifact_each(tmp_path: Path) -> None:
    home, source = tmp_path / "home", tmp_path / "source"
    source.write_text("source")
    both = [start(begin_and_make, home, source, PAUSE) for _ in range(2)]
    for child in both:
        child.join(60)
    assert [child.exitcode for child in both] == [0, 0]
    assert check(home) == 3
    assert all(len(history) == 1 for history in Catalog(home).model("m").variants.values())


def test_a_build_beside_a_collection_loses_nothing(tmp_path: Path) -> None:
    home, source = tmp_path / "home", tmp_path / "source"
    source.write_text("source")
    child = start(begin_and_make, home, source, PAUSE)
    while child.is_alive():
        collect(Store(home), Catalog(home), keep=0)
        time.sleep(0.002)
    child.join(60)
    assert child.exitcode == 0
    assert check(home) == 3


def test_an_interrupted_build_leaves_no_staging_and_goes_on_where_it_was(tmp_path: Path) -> None:
    home, source = tmp_path / "home", tmp_path / "source"
    source.write_text("source")
    command = [sys.executable, "-m", "tests.integration.variants.family", str(home), str(source), "0.1"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        while len(Store(home).stored()) < 1 or not list((home / "artifacts" / ".staging").glob("*/model/part-1")):
            assert child.poll() is None, child.communicate()
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGINT)
        assert b"KeyboardInterrupt" in child.communicate(timeout=60)[1]
    assert list((home / "artifacts" / ".staging").iterdir()) == []
    (first,) = Store(home).stored()
    made = (Store(home).path(first) / MANIFEST).stat().st_mtime_ns
    make(home, source)
    assert check(home) == 3
    assert (Store(home).path(first) / MANIFEST).stat().st_mtime_ns == made


def test_ctrl_c_is_one_line_and_code_130_and_the_next_build_finishes(tmp_path: Path, tiny_llama: Path) -> None:
    home, stack = tmp_path / "home", tmp_path / "stack.yaml"
    recipe, engine = {"kind": "baseline", "dtype": "bfloat16"}, {"kind": "torch"}
    model = {
        "task": "text-generation",
        "source": {"uri": str(tiny_llama), "licence": "Apache-2.0"},
        "variants": {"baseline": {"recipe": recipe, "engine": engine, "weight": 1}},
    }
    stack.write_text(yaml.safe_dump({"schema": 1, "models": {"tiny": model}}))
    command = [sys.executable, "-m", "serve.cli", "build", str(stack), "--json"]
    environment = os.environ | {"UNDERSTUDY_HOME": str(home)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        while not list((home / "artifacts" / ".staging").glob("*/model")):
            assert child.poll() is None, child.communicate()
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGINT)
        printed, said = child.communicate(timeout=60)
    assert (child.returncode, printed) == (130, b""), said
    assert said.decode().splitlines()[-1] == "understudy: interrupted"
    assert b"Traceback" not in said
    assert list((home / "artifacts" / ".staging").iterdir()) == []
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    assert len(Store(home).stored()) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB of its own; never the machine's."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        # Lazily: a library may have a file of it mapped still, and lets go of it in its own time.
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("left", range(0, 120, 8))
def test_a_full_disk_is_one_error_and_harms_nothing(tmp_path: Path, small_disk: Path, left: int) -> None:
    """`left` KiB are free: from too few for the first piece to enough for all, by way of the bookkeeping."""
    home, source, filler = small_disk / "home", tmp_path / "source", small_disk / "filler"
    source.write_text("first")
    make(home, source)
    state = Catalog(home).model("m")
    source.write_text("second")
    filler.write_bytes(b"x" * (available(small_disk) - left * 1024))
    full = None
    try:
        make(home, source)
    except StoreFull as error:
        full = error
    assert (full is None) >= (left >= 112)
    assert (full is None) <= (left > 40)
    assert list((home / "artifacts" / ".staging").iterdir()) == []
    assert all(new[:1] == state.variants[name] for name, new in Catalog(home).model("m").variants.items())
    assert 3 <= check(home) <= 6
    filler.unlink()
    make(home, source)
    assert check(home) == 6
    assert len(Catalog(home).model("m").history("lora")) == 2


def test_a_library_that_does_not_say_why_it_failed_is_no_excuse(
    tmp_path: Path, small_disk: Path, tiny_vit: Path
) -> None:
    """OpenVINO's own words for a full disk are "iostream error"."""
    home, filler = small_disk / "home", small_disk / "filler"
    source = Source(uri=str(tiny_vit), licence="Apache-2.0")
    recipe = parse_recipe({"kind": "baseline", "dtype": "float32"})
    plan = VariantPlan("tiny", "baseline", "image-classification", source, recipe)
    filler.write_bytes(b"x" * (available(small_disk) - 64 * 1024))
    with pytest.raises(StoreFull, match="had no space left") as told:
        build([plan], Store(home), Catalog(home))
    assert "iostream" in str(told.value.__cause__.__cause__ if told.value.__cause__ else "")
    assert Store(home).stored() == []
    filler.unlink()
    build([plan], Store(home), Catalog(home))
    assert Store(home).open(Catalog(home).model("tiny").current("baseline").key).manifest.precision == "f32"


def test_a_writer_that_leaves_the_disk_full_need_not_say_so(tmp_path: Path, small_disk: Path) -> None:
    class Silent(Method):
        def run(self, job: BuildJob) -> MethodResult:
            with suppress(OSError), (job.out / "weights").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(1 << 16))
            raise RuntimeError("the stream is bad")

    home, source = small_disk / "home", tmp_path / "source"
    source.write_text("source")
    with pytest.raises(StoreFull, match=r"nothing half-written was kept; \d\.\d MB are free now"):
        build(plans(source), Store(home), Catalog(home), method_for=lambda *_: Silent("silent", 1, ""))
    deadline = time.monotonic() + 30
    while available(small_disk) < 1_000_000:  # the kernel may take a moment to give the blocks back
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert list((home / "artifacts" / ".staging").iterdir()) == []


def available(disk: Path) -> int:
    space = os.statvfs(disk)
    return space.f_bavail * space.f_frsize


def test_a_half_built_artifact_is_never_opened(tmp_path: Path) -> None:
    home, source = tmp_path / "home", tmp_path / "source"
    source.write_text("source")
    make(home, source)
    key = Store(home).stored()[0]
    (Store(home).path(key) / MANIFEST).unlink()
    with pytest.raises(Exception, match="it is not an artifact"):
        open_artifact(Store(home).path(key))
    make(home, source)
    assert check(home) == 3
