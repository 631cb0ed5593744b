"""The commands `understudy traffic` and `understudy rollout`. Imports little at module level."""

import json
import sys
from typing import Annotated, Any

import typer

from serve.cli.options import HERE, AsJson, Target, emit

ModelName = Annotated[str, typer.Argument(help="The model.")]

rollouts = typer.Typer(
    help="Move a model's traffic to a variant step by step, as the evidence allows.",
    no_args_is_help=True,
    add_completion=False,
)


def traffic(
    model: ModelName,
    weights: Annotated[str | None, typer.Option("--set", help="Weights: int8=10,baseline=90; others are kept.")] = None,
    shadow: Annotated[str | None, typer.Option(help="Shares of requests to compare: int8=0.2; 0 stops it.")] = None,
    pin: Annotated[str | None, typer.Option(help="Pin clients: alice=int8; alice= removes the pin.")] = None,
    sticky: Annotated[bool | None, typer.Option(help="Keep each client on one variant.")] = None,
    why: Annotated[str, typer.Option(help="The reason, for the journal.")] = "",
    target: Target = HERE,
    as_json: AsJson = False,
) -> None:
    """Show a model's traffic, or change it while requests flow.

    Exit codes: 2 an unknown variant, a weight below zero, all weights zero; 7 the traffic was changed in the meantime,
    or a rollout changes it.
    """
    from serve.cli.admin_client import ask
    from serve.cli.rollout_client import change_traffic, describe_traffic, path_of, read_pairs

    changes: dict[str, Any] = {
        "weights": read_pairs(weights, "--set"),
        "shadows": read_pairs(shadow, "--shadow"),
        "pins": read_pairs(pin, "--pin", numbers=False),
    }
    changes = {name: change for name, change in changes.items() if change}
    if sticky is not None:
        changes["sticky"] = sticky
    path = path_of(model, "traffic")
    answer = change_traffic(target, model, changes, why) if changes else ask(target, "GET", path)
    emit(answer, describe_traffic(answer), as_json)


@rollouts.command()
def start(
    model: ModelName,
    variant: Annotated[str, typer.Argument(help="The variant that may replace its parent.")],
    steps: Annotated[str, typer.Option(help="Percentages, `shadow` before the first.")] = "shadow,10,50,100",
    quality: Annotated[float | None, typer.Option(help="The largest loss of accuracy: 0.02 is 2 points.")] = None,
    agreement: Annotated[
        float | None, typer.Option(help="The largest loss of agreement, against the parent's own.")
    ] = None,
    errors: Annotated[float | None, typer.Option(help="The largest share of failed requests.")] = None,
    feedback: Annotated[float | None, typer.Option(help="The lowest mean score of its answers, 0 to 1.")] = None,
    latency: Annotated[
        str | None, typer.Option(help="Objective in seconds and the lowest share of requests within it: 2.5:0.95.")
    ] = None,
    cheaper: Annotated[
        bool, typer.Option("--cheaper", help="Require a lower cost on its card than its parent's.")
    ] = False,
    shadow: Annotated[float, typer.Option(help="The share of requests to compare.")] = 0.2,
    hold: Annotated[float, typer.Option(help="The shortest time of a step, in seconds.")] = 10.0,
    alpha: Annotated[float, typer.Option(help="The largest probability of a wrong decision.")] = 0.05,
    target: Target = HERE,
    as_json: AsJson = False,
) -> None:
    """Begin a rollout. Without a limit on quality, agreement or feedback, the largest loss of accuracy is 2 points."""
    from serve.cli.admin_client import ask
    from serve.cli.rollout_client import describe_rollout, path_of, read_latency

    gate: dict[str, Any] = {
        "quality": 0.02 if (quality, agreement, feedback) == (None, None, None) else quality,
        "agreement": agreement,
        "errors": errors,
        "feedback": feedback,
        "latency": read_latency(latency),
        "cost": "lower" if cheaper else None,
        "alpha": alpha,
    }
    plan = {"variant": variant, "steps": read_steps(steps), "shadow": shadow, "hold_s": hold, "gate": gate}
    answer = ask(target, "POST", path_of(model, "rollout"), plan)
    emit(answer, describe_rollout(answer), as_json)


@rollouts.command()
def cheapest(
    model: ModelName,
    quality_floor: Annotated[float, typer.Option(help="The lowest share of the parent's quality.")] = 0.98,
    by: Annotated[str, typer.Option(help="quality, or agreement if requests have no labels.")] = "quality",
    shadow: Annotated[float, typer.Option(help="The share of requests to compare.")] = 0.2,
    hold: Annotated[float, typer.Option(help="The shortest time of a step, in seconds.")] = 10.0,
    alpha: Annotated[float, typer.Option(help="The largest probability of a wrong decision.")] = 0.05,
    target: Target = HERE,
    as_json: AsJson = False,
) -> None:
    """Try the variants that cost less than their parent, the cheapest first; stop at the first that passes."""
    from serve.cli.admin_client import ask
    from serve.cli.rollout_client import describe_rollout, path_of

    search = {
        "objective": "cheapest",
        "quality_floor": quality_floor,
        "by": by,
        "shadow": shadow,
        "hold_s": hold,
        "alpha": alpha,
    }
    answer = ask(target, "POST", path_of(model, "rollout"), search)
    emit(answer, describe_rollout(answer), as_json)


def read_steps(text: str) -> list[str | float]:
    return [part if not part.replace(".", "", 1).isdigit() else float(part) for part in text.split(",") if part]


@rollouts.command()
def status(model: ModelName, target: Target = HERE, as_json: AsJson = False) -> None:
    """Show the latest rollout and its current evidence."""
    from serve.cli.admin_client import ask
    from serve.cli.rollout_client import describe_rollout, path_of

    answer = ask(target, "GET", path_of(model, "rollout"))
    emit(answer, describe_rollout(answer), as_json)


@rollouts.command()
def watch(model: ModelName, target: Target = HERE, as_json: AsJson = False) -> None:
    """Follow the latest rollout until it ends. Ctrl-C stops only the display. With --json: one line per change."""
    from rich.console import Console
    from rich.live import Live as Screen
    from rich.text import Text

    from serve.cli.rollout_client import describe_rollout, watch_rollout

    if as_json or not sys.stdout.isatty():
        shown = ""
        for answer in watch_rollout(target, model):
            text = json.dumps(answer) if as_json else describe_rollout(answer)
            if text != shown:
                print(text, flush=True)
            shown = text
        return
    with Screen(console=Console(), refresh_per_second=2) as screen:
        for answer in watch_rollout(target, model):
            screen.update(Text(describe_rollout(answer)))


@rollouts.command()
def pause(model: ModelName, target: Target = HERE, as_json: AsJson = False) -> None:
    """Pause a rollout at its current step; evidence is still collected."""
    steer(model, "pause", target, as_json)


@rollouts.command()
def resume(model: ModelName, target: Target = HERE, as_json: AsJson = False) -> None:
    """Resume a paused rollout."""
    steer(model, "resume", target, as_json)


@rollouts.command()
def abort(model: ModelName, target: Target = HERE, as_json: AsJson = False) -> None:
    """End a rollout and restore the traffic from before it."""
    steer(model, "abort", target, as_json)


def steer(model: str, action: str, target: str, as_json: bool) -> None:
    from serve.cli.admin_client import ask
    from serve.cli.rollout_client import describe_rollout, path_of

    answer = ask(target, "POST", path_of(model, f"rollout/{action}"), {})
    emit(answer, describe_rollout(answer), as_json)
