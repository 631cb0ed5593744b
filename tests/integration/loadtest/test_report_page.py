"""The report in a real browser: it is drawn whole, without a script error, and without the network."""

import subprocess
from pathlib import Path

import pytest
from PIL import Image

from loadtest.results.page import write
from loadtest.results.summary import summarise
from tests.support.programs import need
from tests.unit.loadtest.results.made import make

pytestmark = pytest.mark.integration
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    # No name resolves, so whatever the page would fetch is missing from the picture.
    "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1000,1400",
)  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_drawn(tmp_path: Path, scheme: str) -> None:
    browser = need("chromium")
    make(tmp_path)
    page = write(summarise(tmp_path), tmp_path)
    picture = tmp_path / "page.png"
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    done = subprocess.run(
        [browser, *FLAGS, *dark, f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}", page.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert picture.exists(), done.stderr[-2000:]
    with Image.open(picture) as opened:
        image = opened.convert("RGB")
        assert image.size == (1000, 1400)
        corner = image.getpixel((2, 2))
        assert isinstance(corner, tuple)
        assert (sum(corner[:3]) > 380) is (scheme == "light")
        colours = image.getcolors(maxcolors=1 << 20)
    assert colours is not None
    assert len(colours) > 100  # text, tables and plots, not an empty page


def test_the_page_holds_every_plot_as_a_browser_reads_it(tmp_path: Path) -> None:
    browser = need("chromium")
    make(tmp_path)
    summary = summarise(tmp_path)
    page = write(summary, tmp_path)
    done = subprocess.run(
        [browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.count("<svg") >= 2 * len(summary.models)
    for model in summary.models:
        assert model.model in done.stdout
