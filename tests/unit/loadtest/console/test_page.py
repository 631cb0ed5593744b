"""The Load page in the console: it offers files by name, starts one, and shows runs, reports and comparisons."""

import asyncio
import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.console.page import LoadPages
from loadtest.results.page import write
from loadtest.results.summary import summarise
from serve.config.server.settings import Server
from serve.console.brought_pages import Pages
from serve.console.site import Site
from tests.support.plugins import ROOT, declared
from tests.unit.loadtest.console.test_files import SMALL
from tests.unit.loadtest.results.made import make
from tests.unit.serve.console.made import Fake, key, token_of

PAGE = "/pages/load"
RUN, LATER = "20261201T120000Z-demo", "20261201T130000Z-demo"
LIMIT_S = 60.0
"""Detects a hang."""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    (tmp_path / "campaigns").mkdir()
    (tmp_path / "campaigns" / "small.yaml").write_text(SMALL)
    return tmp_path


def fake(server: Server = Server()) -> Fake:
    return Fake(server, declared("understudy.pages"))


def add_run(home: Path, name: str) -> None:
    folder = home / "load" / name
    folder.mkdir(parents=True)
    make(folder)
    write(summarise(folder), folder)


async def test_files_are_offered_by_name_if_their_models_are_served() -> None:
    async with fake().client() as client:
        shown = (await client.get(PAGE)).text
    assert '<a href="/pages/load" aria-current="page">Load</a>' in shown
    assert '<option value="small">small: echo</option>' in shown
    assert '<option value="demo"' not in shown
    assert "no: digits, minilm, smollm2 not served" in shown
    assert "No campaign runs." in shown
    assert "hx-get" not in shown  # nothing changes


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none", "there is no campaign"),
        ("", "there is no campaign"),
        ("../campaigns/small", "there is no campaign"),
        ("demo", "asks for digits, minilm, smollm2, which is not served here"),
    ],
)
async def test_what_is_not_offered_cannot_be_started(name: str, said: str, own_home: Path) -> None:
    async with fake().client() as client:
        token = token_of((await client.get(PAGE)).text)
        answer = await client.post(f"{PAGE}/start", data={"token": token, "campaign": name})
        assert answer.status_code == 400
        assert said in answer.text
        forged = await client.post(f"{PAGE}/start", data={"token": "x", "campaign": "small"})
        assert forged.status_code == 403
    assert not (own_home / "load").exists()


async def test_a_campaign_that_fails_says_why() -> None:
    """Nobody listens at the fake's address, so the real child process has nobody to ask."""
    async with fake(Server(port=1)).client() as client:
        token = token_of((await client.get(PAGE)).text)
        started = await client.post(f"{PAGE}/start", data={"token": token, "campaign": "small"})
        assert (started.status_code, started.headers["location"]) == (303, PAGE)
        async with asyncio.timeout(LIMIT_S):
            while "is the server up at that address?" not in (shown := (await client.get(PAGE)).text):
                await asyncio.sleep(0.2)
        assert "by</th>" in shown
        assert "<td>console</td>" in shown


async def test_with_keys_the_requests_need_one() -> None:
    async with fake(Server(keys={"ops": key("root", admin=True)})).client() as client:
        token = token_of((await client.get("/sign-in")).text)
        await client.post("/sign-in", data={"token": token, "key": "root"})
        page = (await client.get(PAGE)).text
        assert 'type="password"' in page
        form = {"token": token_of(page), "campaign": "small"}
        refused = await client.post(f"{PAGE}/start", data=form)
        assert refused.status_code == 400
        assert "enter the API key" in refused.text


async def test_reports_and_two_runs_side_by_side(own_home: Path) -> None:
    add_run(own_home, RUN)
    add_run(own_home, LATER)
    async with fake().client() as client:
        shown = (await client.get(PAGE)).text
        assert f'href="{PAGE}/{RUN}/report"' in shown
        assert shown.index(LATER) < shown.index(RUN)
        report = await client.get(f"{PAGE}/{RUN}/report")
        assert report.text == (own_home / "load" / RUN / "report.html").read_text()
        assert "script-src" not in report.headers["content-security-policy"]
        compared = await client.get(f"{PAGE}/compare", params={"first": RUN, "second": LATER})
        assert compared.status_code == 200
        assert "baseline, first" in compared.text
        assert "Second over first" in compared.text
        assert f'src="{PAGE}/{RUN}/smollm2.svg"' in compared.text
        assert "<svg" not in compared.text  # Matplotlib's has inline styles, which the policy of pages forbids
        picture = await client.get(f"{PAGE}/{RUN}/smollm2.svg")
        assert picture.text.startswith("<svg")
        for path in (f"{RUN}/none.svg", "none/report", f"compare?first={RUN}", "..%2Frunning/report"):
            assert (await client.get(f"{PAGE}/{path}")).status_code == 404
        (own_home / "load" / RUN / "summary.json").write_text("{}")
        damaged = await client.get(f"{PAGE}/compare", params={"first": RUN, "second": LATER})
        assert damaged.status_code == 500
        assert "is damaged" in damaged.text


async def test_a_run_that_goes_on_is_followed(own_home: Path) -> None:
    """The lock of a process that runs is that of this test."""
    folder = own_home / "load" / RUN
    folder.mkdir(parents=True)
    step = {"part": "speed", "text": "smollm2@int8", "done": 1.0, "of": 4.0, "left_s": 95.0}
    (folder / "progress.json").write_text(json.dumps(step))
    with (own_home / "load" / "running").open("w") as lock:
        lock.write(RUN)
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        async with fake().client() as client:
            shown = (await client.get(PAGE)).text
            assert 'hx-get="/pages/load"' in shown
            assert "speed: smollm2@int8, 25 %; about 1:35 minutes left in all" in shown
            assert 'value="0.250"' in shown
            token = token_of(shown)
            busy = await client.post(f"{PAGE}/start", data={"token": token, "campaign": "small"})
            assert busy.status_code == 409
            assert "another campaign runs" in busy.text
            assert (await client.get(f"{PAGE}/{RUN}/report")).status_code == 404


def test_the_console_gives_what_the_page_needs_and_gets_what_it_brings() -> None:
    made = fake()
    brought: Pages = LoadPages(Site(made.app, made.snapshot))  # mypy holds both sides
    assert set(brought.forms) == {"/start", "/stop"}


def test_the_page_imports_nothing_heavy_before_it_is_used() -> None:
    code = (
        "import loadtest.console.page, sys; "
        "print([name for name in ('matplotlib', 'numpy', 'gevent', 'locust', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
