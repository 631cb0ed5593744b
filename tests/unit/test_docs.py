"""The documents keep up with the code."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.exceptions import TyperException
from typer.main import get_command

from serve.cli.main import app

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


COMMANDS = [
    (document.name, command, whole)
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for line in document.read_text().splitlines()
    for command, whole in [
        *((each, True) for each in re.findall(r"^(?: {4})?(understudy [^|]*?)(?:\s+#.*)?$", line)),
        *((each, False) for each in re.findall(r"`(understudy [^`]*)`", line)),
    ]
    if document.name != "CHANGELOG.md"
]


@pytest.mark.parametrize(("document", "command", "whole"), COMMANDS)
def test_a_command_of_the_documents_is_one_of_the_command_line(document: str, command: str, whole: bool) -> None:
    """A command in the text may lack its arguments; one on a line of its own may not."""
    program: Any = get_command(app)
    name, words, parent = "understudy", shlex.split(command)[1:], None
    try:
        while True:
            parent = program.make_context(name, list(words), parent=parent)
            if not hasattr(program, "resolve_command"):
                return
            name, program, words = program.resolve_command(parent, [*parent._protected_args, *parent.args])
    except TyperException as error:
        if whole or type(error).__name__ not in ("MissingParameter", "BadOptionUsage"):
            pytest.fail(f"{document}: {command}: {error}")


def test_commands_are_found_in_the_documents() -> None:
    assert len([command for _, command, whole in COMMANDS if whole]) > 40
