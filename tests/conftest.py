"""What holds for every test: how many run at a time, which of them share a worker, and where their caches are.

Tests that share a fixture of their module, package or session run in one worker, in their order, so that it is made
once. What they share is read off their fixtures. The others go wherever a worker is free (pytest-xdist).
"""

import os

import psutil
import pytest

from variants.home import home, sources_of

WORKER_BYTES = 7 * 2**30
"""What one test at a time takes at most: a server with real engines."""
EVERYWHERE = {"tmp_path_factory", "pytestconfig", "anyio_backend", "tiny_llama", "tiny_vit"}
"""Shared fixtures that cost next to nothing: whoever uses them need not wait for a worker that has made them."""
FIRST = ("tests/integration/demo::demo", "tests/integration/serve::started_on_ray", "tests/integration::served")
"""Groups that take longest, so that none of them is still running when all others have ended."""

LONGEST_ID = 100


def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: one more than there are cores, as long as memory holds them: many tests wait for servers to start."""
    return max(1, min((os.cpu_count() or 1) + 1, psutil.virtual_memory().available // WORKER_BYTES))


def pytest_configure(config: pytest.Config) -> None:
    for folder in (sources_of(home()), home() / "judges"):
        folder.mkdir(parents=True, exist_ok=True)
    if hasattr(config, "workerinput"):
        # Two workers with a thread a core each would wait for one another: OpenMP's threads spin.
        os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Marks each test with its group, and puts each group's tests one after the other."""
    places = {group: place for place, group in enumerate(FIRST)}
    for item in items:
        group = group_of(item)
        if group:
            item.add_marker(pytest.mark.xdist_group(group))
        places.setdefault(group or item.nodeid, len(places))
    items.sort(key=lambda item: places[group_of(item) or item.nodeid])


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Function, nextitem: pytest.Function | None) -> None:
    """Ends what a group shares with its last test, and not with the session: an idle server takes time from others."""
    if nextitem is None or group_of(nextitem) != group_of(item):
        for definition in shared_by(item):
            definition.finish(item._request)  # type: ignore[arg-type]  # of whichever request


def group_of(item: pytest.Function) -> str | None:
    """What a test shares with others: a fixture of the session or a package, or its module for one of the module's
    scope."""
    for definition in shared_by(item):
        return f"{definition.baseid}::{definition.argname}"
    if any(definition.scope == "module" for definition in definitions_of(item)):
        return item.nodeid.partition("::")[0]
    return None


def shared_by(item: pytest.Function) -> list[pytest.FixtureDef[object]]:
    """Our own fixtures of the session or a package that the test uses."""
    return [
        definition
        for definition in definitions_of(item)
        if definition.scope in ("session", "package") and definition.baseid.startswith("tests")
    ]


def definitions_of(item: pytest.Function) -> list[pytest.FixtureDef[object]]:
    return [each[-1] for name, each in item._fixtureinfo.name2fixturedefs.items() if name not in EVERYWHERE]


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """A short name for a long parameter: pytest would use the whole text, and some tests send 32 MiB."""
    return f"{argname} of {len(val)}" if isinstance(val, str | bytes) and len(val) > LONGEST_ID else None
