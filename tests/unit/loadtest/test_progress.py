"""Progress off a terminal: plain lines, not too many, with what, how far, and how long still."""

import io

from rich.console import Console

from loadtest.progress import Step, open_progress


def lines(*steps: Step) -> list[str]:
    stream = io.StringIO()
    with open_progress(Console(file=stream, width=40)) as progress:
        for step in steps:
            progress(step)
    return stream.getvalue().splitlines()


def test_a_line_says_what_how_far_and_how_long_still() -> None:
    (line,) = lines(Step("speed", "smollm2@int8 alone, slice 2 of 3, 8 clients", 3.0, 12.0, 95.4))
    assert "speed" in line
    assert "smollm2@int8 alone, slice 2 of 3, 8 clients" in line
    assert "25 %" in line
    assert "about 1:35 left" in line


def test_steps_of_the_same_second_make_one_line() -> None:
    steps = [Step("accuracy", "labels", number, 100, 10.0) for number in range(50)]
    assert len(lines(*steps)) == 1
