"""The campaign files that the console offers, and what each asks for."""

from pathlib import Path

from loadtest.console.files import OWN, campaign_files

SMALL = """
schema: 1
name: small
limit_s: 30
mixed: {seconds: 1, clients: 2, arrivals: [{model: echo, task: mnist, ask: label, per_s: 5}]}
"""


def test_the_files_of_the_program_are_offered_with_what_they_ask() -> None:
    files = campaign_files(OWN)
    assert "demo" in files
    assert files["demo"].models == ("smollm2", "digits", "minilm")
    assert files["demo"].parts == ("mixed", "accuracy", "speed")
    assert files["demo"].limit_s == 1200
    assert [name for name, file in files.items() if file.problem] == []
    assert files["demo"].missing(["smollm2", "digits", "other"]) == ["minilm"]


def test_a_file_of_ones_own_replaces_one_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text(SMALL)
    (tmp_path / "note.txt").write_text(SMALL)
    files = campaign_files(OWN, tmp_path, tmp_path / "none")
    assert files["demo"].path == tmp_path / "demo.yaml"
    assert files["demo"].models == ("echo",)
    assert "note" not in files


def test_a_link_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere")
    assert campaign_files(tmp_path)["gone"].problem.startswith("cannot be read")


def test_a_wrong_file_says_why_and_is_read_again_when_it_changes(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL.replace("limit_s: 30\n", ""))
    (tmp_path / "a b.yaml").write_text(SMALL)
    files = campaign_files(tmp_path)
    assert files["small"].problem == "limit_s: Field required"
    assert "rename the file" in files["a b"].problem
    (tmp_path / "small.yaml").write_text(SMALL)
    assert campaign_files(tmp_path)["small"].problem == ""
