"""The sentences on what is wrong, and the cells of a variant."""

from serve.console.figures import Counts, Lately
from serve.console.fleet import problems, row
from tests.unit.serve.console.made import model, variant


def lately(**of_echo: Counts) -> Lately:
    return Lately({("echo", name): counts for name, counts in of_echo.items()}, 10.0, False)


def test_nothing_is_wrong() -> None:
    models = [model("echo", variant("baseline"), variant("int8", weight=0))]
    assert problems(models, lately(baseline=Counts(1000, 50))) == []


def test_the_worst_comes_first() -> None:
    down = {"ready": False, "reason": "it ended"}
    models = [
        model("near", variant("baseline"), variant("int8", **down)),
        model("echo", variant("baseline"), variant("int8")),
        model("gone", variant("baseline", **down)),
    ]
    said = problems(models, lately(int8=Counts(20, 2), baseline=Counts(19, 19)))
    assert said == [
        ("gone", "gone answers no requests: no variant with traffic is ready."),
        ("echo", "echo@int8 fails for 10.0 % of its requests."),
        ("near", "near@int8 is not ready (50.0 % of the traffic): it ended"),
        ("gone", "gone@baseline is not ready (100.0 % of the traffic): it ended"),
    ]


def test_the_cells_of_a_variant() -> None:
    counts = Counts(20, 1, 500, {1.0: 20, float("inf"): 20})
    shown = row("echo", variant("int8", running=2, waiting=1, memory_bytes=2 * 10**9), 0.1, lately(int8=counts), 3)
    assert shown["cells"] == ("10.0 %", "2.00", "500 ms", "950 ms", "–", "5.0 %", "50.0", "2 + 1", "2.00 GB")
    idle = row("echo", variant("int8"), 0.0, lately(), 3)
    assert idle["cells"] == ("0.0 %", *["–"] * 6, "0 + 0", "–")
