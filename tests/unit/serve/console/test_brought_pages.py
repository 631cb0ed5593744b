"""Pages that other packages bring: found by entry point, behind the console's checks, and absent where none is."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from serve.config.server.settings import Server
from serve.console.forms import Form
from serve.console.site import Site
from tests.support.plugins import declared
from tests.unit.serve.console.made import Fake, key, token_of

PAGES = [EntryPoint("notes", f"{__name__}:Notes", "understudy.pages")]
KEYS = {"ops": key("root", admin=True), "app": key("a")}


class Notes:
    """Two pages and a form, which tell who came."""

    title = "Notes"
    templates = Path(__file__).parent

    def __init__(self, site: Site) -> None:
        self.site = site
        self.pages = {"": self.page, "/{name}": self.page}
        self.forms = {"/add": self.add}

    async def page(self, request: Request) -> Response:
        return PlainTextResponse(f"{request.path_params.get('name')} for {self.site.who(request)}")

    async def add(self, request: Request, form: Form) -> Response:
        return PlainTextResponse(f"added {form['text']}")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))


async def test_a_page_that_is_brought_stands_in_the_navigation() -> None:
    async with Fake(pages=PAGES).client() as client:
        shown = (await client.get("/")).text
        assert '<a href="/pages/notes">Notes</a>' in shown
        assert (await client.get("/pages/notes")).text == "None for console"
        page = await client.get("/pages/notes/one")
        assert page.text == "one for console"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        form = {"token": token_of((await client.get("/try")).text), "text": "x"}
        sent = await client.post("/pages/notes/add", data=form)
        assert sent.text == "added x"
        assert (await client.post("/pages/notes/add", data={"text": "x"})).status_code == 403


async def test_without_an_entry_point_there_is_neither_page_nor_link() -> None:
    async with Fake().client() as client:
        assert "/pages/" not in (await client.get("/")).text
        assert (await client.get("/pages/load")).status_code == 404


async def test_a_page_that_fails_is_left_out_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    broken = [
        EntryPoint("gone", "no_such_module:Pages", "understudy.pages"),
        EntryPoint("Wrong name", f"{__name__}:Notes", "understudy.pages"),
    ]
    async with Fake(pages=[*broken, *PAGES]).client() as client:
        shown = (await client.get("/")).text
        assert shown.count('href="/pages/') == 1
        assert (await client.get("/pages/gone")).status_code == 404
    assert "ModuleNotFoundError" in caplog.text
    assert [vars(record)["page"] for record in caplog.records if "left out" in record.message] == ["gone", "Wrong name"]


async def test_every_page_and_form_needs_a_key_that_the_api_admits() -> None:
    fake = Fake(Server(keys=KEYS), PAGES)
    async with fake.client() as client:
        assert (await client.get("/pages/notes")).status_code == 303
        token = token_of((await client.get("/sign-in")).text)
        await client.post("/sign-in", data={"token": token, "key": "root"})
        assert (await client.get("/pages/notes")).text == "None for ops"
        assert fake.asked[-1] == ("GET", "/admin/v1/models", "ops")
        del fake.documents["/admin/v1/models"]  # as the API refuses a key without the right
        assert (await client.get("/pages/notes")).status_code == 404
        token = token_of((await client.get("/try")).text)
        refused = await client.post("/pages/notes/add", data={"token": token, "text": "x"})
        assert (refused.status_code, "added" in refused.text) == (404, False)


def test_the_project_brings_its_load_page() -> None:
    (entry,) = declared("understudy.pages")
    assert entry.name == "load"
    assert entry.load().title == "Load"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104
        ("::", "http://[::1]:8000"),
        ("10.0.0.5", "http://10.0.0.5:8000"),
        ("fe80::1", "http://[fe80::1]:8000"),
    ],
)
def test_the_servers_address_is_one_that_this_machine_reaches(host: str, url: str) -> None:
    fake = Fake(Server(host=host))
    assert Site(fake.app, fake.snapshot).url == url
