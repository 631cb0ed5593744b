"""What every page has: its policy, its check of hosts, origins, keys and tokens; and names that stay text."""

import hashlib
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serve.config.server.settings import Server
from tests.unit.serve.console.made import HOST, Fake, key, model, token_of, variant
from variants.reports.palette import PALETTE

ROOT = Path(__file__).resolve().parents[4]
HOSTILE = "<script>alert(1)</script>"
KEYS = {"ops": key("root", admin=True), "app": key("a")}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))


@pytest.mark.parametrize("path", ["/", "/sign-in", "/models/none", "/models/none/what", "/console/none.js"])
async def test_every_page_lets_a_browser_load_nothing_but_its_own_files(path: str) -> None:
    async with Fake().client() as client:
        answer = await client.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert " style=" not in answer.text
    assert "<script>" not in answer.text


async def test_names_and_reasons_stay_text() -> None:
    fake = Fake()
    broken = variant(HOSTILE, ready=False, reason=HOSTILE)
    fake.documents["/admin/v1/models"] = {"models": [model(HOSTILE, broken)], "machine": {}}
    async with fake.client() as client:
        page = (await client.get("/")).text
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


async def test_the_page_of_a_large_fleet_stays_small() -> None:
    fake = Fake()
    models = [model(f"model-{m}", *(variant(f"variant-{v}") for v in range(10))) for m in range(50)]
    fake.documents["/admin/v1/models"] = {"models": models, "machine": {}}
    async with fake.client() as client:
        page = await client.get("/")
    assert page.text.count('<th scope="row">') == 500
    assert len(page.content) < 300_000


async def test_everything_else_is_the_ingresss() -> None:
    fake = Fake()
    fake.documents["/v1/models"] = {"data": []}
    async with fake.client() as client:
        assert (await client.get("/v1/models")).json() == {"data": []}
        assert (await client.get("/v1")).status_code == 404
    off = Fake(Server(console=False))
    async with off.client() as client:
        assert (await client.get("/")).json() == {"error": {"message": "no / 0"}}


async def test_other_hosts_and_other_sites_are_refused() -> None:
    async with Fake().client() as client:
        assert (await client.get("/", headers={"host": "evil.example"})).status_code == 403
        assert (await client.get("/", headers={"origin": "http://evil.example"})).status_code == 403
        assert (await client.get("/", headers={"origin": HOST})).status_code == 200


async def test_a_form_needs_the_token_of_its_session() -> None:
    async with Fake().client() as client, Fake().client() as other:
        page, foreign = (await client.get("/try")).text, (await other.get("/try")).text
        asked = {"model": "none", "prompt": "p", "tokens": "5"}
        for token in ("", "x", token_of(foreign)):
            assert (await client.post("/try", data={**asked, "token": token})).status_code == 403
        refused = await client.post("/try", data={**asked, "token": token_of(page)})
        assert refused.status_code == 400
        assert "there is no model" in refused.text
        assert (await client.post("/try", json=asked)).status_code == 415
        large = {**asked, "token": token_of(page), "prompt": "x" * 2**20}
        assert (await client.post("/try", data=large)).status_code == 413


async def test_a_key_opens_the_pages_and_is_named_to_the_api() -> None:
    fake = Fake(Server(keys=KEYS))
    async with fake.client() as client:
        sent = await client.get("/models/echo")
        assert (sent.status_code, sent.headers["location"]) == (303, "/sign-in?next=/models/echo")
        page = (await client.get("/sign-in?next=/models/echo")).text
        wrong = await client.post("/sign-in", data={"token": token_of(page), "key": "guess"})
        assert wrong.status_code == 401
        assert "unknown" in wrong.text
        assert fake.asked == []
        form = {"token": token_of(page), "key": "root", "next": "/"}
        answer = await client.post("/sign-in", data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "root" not in cookie
        assert (await client.get("/")).status_code == 200
        assert fake.asked == [("GET", "/admin/v1/models", "ops")]
        out = await client.post("/sign-out", data={"token": token_of((await client.get("/")).text)})
        assert out.status_code == 303
        assert (await client.get("/")).status_code == 303


@pytest.mark.parametrize("change", ["removed", "replaced", "expired"])
async def test_a_session_ends_with_its_key(change: str) -> None:
    fake = Fake(Server(keys=KEYS))
    async with fake.client() as client:
        page = (await client.get("/sign-in")).text
        await client.post("/sign-in", data={"token": token_of(page), "key": "root"})
        assert (await client.get("/")).status_code == 200
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        ops = {"replaced": key("new", admin=True), "expired": key("root", admin=True, expires=yesterday)}.get(change)
        fake.server = Server(keys={"app": key("a"), **({"ops": ops} if ops else {})})
        assert (await client.get("/")).status_code == 303
        polled = await client.get("/", headers={"hx-request": "true"})
        assert (polled.status_code, polled.headers["hx-redirect"]) == (401, "/sign-in")


@pytest.mark.parametrize("wanted", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:x", ""])
async def test_nobody_is_sent_to_another_site(wanted: str) -> None:
    async with Fake(Server(keys=KEYS)).client() as client:
        page = (await client.get("/sign-in", params={"next": wanted})).text
        form = {"token": token_of(page), "key": "root", "next": wanted}
        assert (await client.post("/sign-in", data=form)).headers["location"] == "/"


def test_nothing_imports_matplotlib_before_a_picture_is_drawn() -> None:
    code = "import serve.console.application, sys; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "False"


def test_the_vendored_file_is_the_one_that_notice_names() -> None:
    script = (ROOT / "serve" / "console" / "static" / "htmx.min.js").read_bytes()
    assert hashlib.sha256(script).hexdigest() == "71ea67185bfa8c98c39d31717c6fce5d852370fcdfd129db4543774d3145c0de"
    version = script.decode().split('version:"', 1)[1].split('"', 1)[0]
    assert f"htmx {version}, unchanged" in (ROOT / "NOTICE").read_text()


async def test_assets_are_cached_by_their_hash() -> None:
    async with Fake().client() as client:
        page = (await client.get("/")).text
        address = page.split('rel="stylesheet" href="', 1)[1].split('"', 1)[0]
        style = await client.get(address)
    assert style.headers["content-type"].startswith("text/css")
    assert "immutable" in style.headers["cache-control"]
    assert f"--variant-0: {PALETTE[0][0]}" in style.text
