"""The documents keep up with the code."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_package_stands_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    packages = [
        str(path.parent.relative_to(ROOT))
        for package in ("variants", "serve", "loadtest", "deploy")
        for path in (ROOT / package).rglob("__init__.py")
    ]
    assert len(packages) > 10
    assert [package for package in packages if f"`{package}`" not in text] == []


def test_no_document_names_a_file_that_is_gone() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "tests" / "README.md"]:
        named = re.findall(r"`((?:variants|serve|loadtest|deploy|tests|docs)/[\w./-]+\.\w+)`", document.read_text())
        assert [name for name in named if not (ROOT / name).exists()] == [], document


def test_every_make_target_that_is_promised_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "tests" / "README.md"]:
        for target in re.findall(r"make ([a-z][a-z-]+)`", document.read_text()):
            assert f"\n{target}: " in makefile, (document, target)
