"""`understudy traffic` and `understudy rollout`, as commands of `serve.cli`. Light imports only."""

import json
import sys
from typing import Annotated, Any

import typer

from serve.cli.options import HERE, AsJson, Target, emit

ModelName = Annotated[str, typer.Argument(help="The model.")]

rollouts = typer.Typer(
    help="Let evidence move a model's traffic to a variant, step by step.", no_args_is_help=True, add_completion=False
)


def traffic(
    model: ModelName,
    weights: Annotated[str | None, typer.Option("--set", help="Weights: int8=10,baseline=90; others stay.")] = None,
    shadow: Annotated[str | None, typer.Option(help="Shares that are compared: int8=0.2; 0 ends it.")] = None,
    pin: Annotated[str | None, typer.Option(help="Clients: alice=int8; alice= ends it.")] = None,
    sticky: Annotated[bool | None, typer.Option(help="Whether a client stays on its variant.")] = None,
    why: Annotated[str, typer.Option(help="The reason, for the journal.")] = "",
    target: Target = HERE,
    as_json: AsJson = False,
) -> None:
    """Show a model's traffic, or change it while requests flow.

    Exit codes: 2 an unknown variant, a weight below zero, all weights zero; 7 somebody else changed it meanwhile, or a
    rollout moves it.
    """
    from serve.cli.rollout_client import change_traffic, describe_traffic, read_pairs, read_traffic

    changes: dict[str, Any] = {
        "weights": read_pairs(weights, "--set"),
        "shadows": read_pairs(shadow, "--shadow"),
        "pins": read_pairs(pin, "--pin", numbers=False),
    }
    changes = {name: change for name, change in changes.items() if change}
    if sticky is not None:
        changes["sticky"] = sticky
    found = change_traffic(target, model, changes, why) if changes else read_traffic(target, model)
    emit(found, describe_traffic(found), as_json)


@rollouts.command()
def start(
    model: ModelName,
    variant: Annotated[str, typer.Argument(help="The variant that may take over from its parent.")],
    steps: Annotated[str, typer.Option(help="Percentages, `shadow` before the first.")] = "shadow,10,50,100",
    quality: Annotated[float | None, typer.Option(help="How much correctness may be lost: 0.02 is 2 points.")] = None,
    agreement: Annotated[
        float | None, typer.Option(help="How much agreement may be lost against the parent's own.")
    ] = None,
    errors: Annotated[float | None, typer.Option(help="The largest share of requests that may fail.")] = None,
    feedback: Annotated[float | None, typer.Option(help="The least mean score its answers get, 0 to 1.")] = None,
    latency: Annotated[
        str | None, typer.Option(help="Objective in seconds and the least share within: 2.5:0.95.")
    ] = None,
    cheaper: Annotated[bool, typer.Option("--cheaper", help="Also: the card's cost below its parent's.")] = False,
    shadow: Annotated[float, typer.Option(help="The share of requests that are compared.")] = 0.2,
    hold: Annotated[float, typer.Option(help="The least seconds a step lasts.")] = 10.0,
    alpha: Annotated[float, typer.Option(help="How likely a wrong decision may be.")] = 0.05,
    target: Target = HERE,
    as_json: AsJson = False,
) -> None:
    """Begin a rollout. Without a limit on quality, agreement or feedback, 2 points of correctness may be lost."""
    from serve.cli.rollout_client import begin_rollout, describe_rollout, read_latency

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
    found = begin_rollout(target, model, plan)
    emit(found, describe_rollout(found), as_json)


@rollouts.command()
def cheapest(
    model: ModelName,
    quality_floor: Annotated[float, typer.Option(help="The share of its parent's quality that must be kept.")] = 0.98,
    by: Annotated[str, typer.Option(help="quality, or agreement where requests carry no labels.")] = "quality",
    shadow: Annotated[float, typer.Option(help="The share of requests that are compared.")] = 0.2,
    hold: Annotated[float, typer.Option(help="The least seconds a step lasts.")] = 10.0,
    alpha: Annotated[float, typer.Option(help="How likely a wrong decision may be.")] = 0.05,
    target: Target = HERE,
    as_json: AsJson = False,
) -> None:
    """Try the variants that cost less than their parent, the cheapest first, and end on the first that keeps the
    floor."""
    from serve.cli.rollout_client import begin_rollout, describe_rollout

    search = {
        "objective": "cheapest",
        "quality_floor": quality_floor,
        "by": by,
        "shadow": shadow,
        "hold_s": hold,
        "alpha": alpha,
    }
    found = begin_rollout(target, model, search)
    emit(found, describe_rollout(found), as_json)


def read_steps(text: str) -> list[str | float]:
    return [part if not part.replace(".", "", 1).isdigit() else float(part) for part in text.split(",") if part]


@rollouts.command()
def status(model: ModelName, target: Target = HERE, as_json: AsJson = False) -> None:
    """Say where the latest rollout stands, and what its evidence says now."""
    from serve.cli.rollout_client import describe_rollout, read_rollout

    found = read_rollout(target, model)
    emit(found, describe_rollout(found), as_json)


@rollouts.command()
def watch(model: ModelName, target: Target = HERE, as_json: AsJson = False) -> None:
    """Follow the latest rollout until it has ended; Ctrl-C leaves it to itself. With --json a line a second."""
    from rich.console import Console
    from rich.live import Live as Screen
    from rich.text import Text

    from serve.cli.rollout_client import describe_rollout, watch_rollout

    if as_json or not sys.stdout.isatty():
        shown = ""
        for found in watch_rollout(target, model):
            text = json.dumps(found) if as_json else describe_rollout(found)
            if text != shown:
                print(text, flush=True)
            shown = text
        return
    with Screen(console=Console(), refresh_per_second=2) as screen:
        for found in watch_rollout(target, model):
            screen.update(Text(describe_rollout(found)))


@rollouts.command()
def pause(model: ModelName, target: Target = HERE, as_json: AsJson = False) -> None:
    """Hold a rollout where it is; evidence goes on growing."""
    steer(model, "pause", target, as_json)


@rollouts.command()
def resume(model: ModelName, target: Target = HERE, as_json: AsJson = False) -> None:
    """Let a paused rollout go on."""
    steer(model, "resume", target, as_json)


@rollouts.command()
def abort(model: ModelName, target: Target = HERE, as_json: AsJson = False) -> None:
    """End a rollout, its traffic as it was before."""
    steer(model, "abort", target, as_json)


def steer(model: str, action: str, target: str, as_json: bool) -> None:
    from serve.cli.rollout_client import describe_rollout, steer_rollout

    found = steer_rollout(target, model, action)
    emit(found, describe_rollout(found), as_json)
