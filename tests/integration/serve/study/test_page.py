"""The study's page in a real browser: drawn whole, without the network."""

import subprocess
from pathlib import Path

import pytest
from PIL import Image

from serve.study.page import write
from tests.integration.loadtest.test_report_page import FLAGS
from tests.support.programs import need
from tests.support.study import baseline, card, made_study

pytestmark = pytest.mark.integration


def test_the_page_is_drawn(tmp_path: Path) -> None:
    browser = need("chromium")
    study = made_study(baseline(), card("int8"), card("pruned", kind="pruned", structured=True))
    picture = tmp_path / "page.png"
    done = subprocess.run(
        [
            browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}",
            write(study, tmp_path).as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert picture.exists(), done.stderr[-2000:]
    with Image.open(picture) as opened:
        colours = opened.convert("RGB").getcolors(maxcolors=1 << 20)
    assert colours is not None
    assert len(colours) > 100  # text, tables and plots, not an empty page
