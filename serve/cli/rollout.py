"""The commands `understudy traffic` and `understudy rollout`. They import what they need when they run."""

import json
import sys
from typing import Annotated, Any, Literal

import typer

from serve.cli.options import HERE, AsJson, Target, emit
from serve.cli.rollout_report import report, wait
from variants.errors import InputError

ModelName = Annotated[str, typer.Argument(help="The model.")]
Shadow = Annotated[float, typer.Option(help="The share of requests to compare.")]
Hold = Annotated[float, typer.Option(help="The shortest time of a step, in seconds.")]
GuardFlag = Annotated[bool, typer.Option(help="Compare its clients' errors and latency with its parent's.")]
Alpha = Annotated[float, typer.Option(help="The largest probability of a wrong decision.")]

rollouts = typer.Typer(
    help="Move a model's traffic to a variant step by step, as the evidence allows.",
    no_args_is_help=True,
    add_completion=False,
)
rollouts.command()(report)
rollouts.command()(wait)


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
    from serve.cli.rollout_text import describe_traffic
    from serve.client.client import Client

    changes: dict[str, Any] = {
        "weights": read_pairs(weights, "--set"),
        "shadows": read_pairs(shadow, "--shadow"),
        "pins": read_pairs(pin, "--pin", numbers=False),
    }
    client = Client(target)
    if sticky is None and not any(changes.values()):
        answer = client.traffic(model)
    else:
        answer = client.change_traffic(model, sticky=sticky, why=why, **changes)
    emit(answer, describe_traffic(answer), as_json)


def read_pairs(text: str | None, option: str, numbers: bool = True) -> dict[str, Any]:
    """`int8=10,baseline=90` as a mapping. Raises InputError that names the option."""
    pairs: dict[str, Any] = {}
    for part in (text or "").split(","):
        if not part:
            continue
        name, equals, value = part.rpartition("=")
        try:
            pairs[name] = float(value) if numbers else value
        except ValueError:
            equals = ""
        if not equals or not name:
            raise InputError(f"{part!r} is not name=value", field=option, mend="for example int8=10,baseline=90")
    return pairs


@rollouts.command()
def start(
    model: ModelName,
    variant: Annotated[str, typer.Argument(help="The variant that may replace its parent.")],
    steps: Annotated[str, typer.Option(help="Percentages, `shadow` before the first.")] = "shadow,10,50,100",
    quality: Annotated[float | None, typer.Option(help="The largest loss of accuracy: 0.02 is 2 points.")] = None,
    agreement: Annotated[float | None, typer.Option(help="The largest loss of agreement with the parent.")] = None,
    errors: Annotated[float | None, typer.Option(help="The largest share of failed requests.")] = None,
    feedback: Annotated[float | None, typer.Option(help="The lowest mean score of its answers, 0 to 1.")] = None,
    latency: Annotated[
        str | None, typer.Option(help="Objective in seconds and the lowest share of requests within it: 2.5:0.95.")
    ] = None,
    cheaper: Annotated[bool, typer.Option("--cheaper", help="Require a card with a lower cost.")] = False,
    segment: Annotated[float | None, typer.Option(help="The largest loss in each declared segment.")] = None,
    guard: GuardFlag = True,
    guard_errors: Annotated[float, typer.Option(help="How much more often requests of its clients may fail.")] = 0.01,
    guard_latency: Annotated[float, typer.Option(help="The largest ratio of its clients' p95 to the parent's.")] = 1.25,
    guard_block: Annotated[float, typer.Option(help="Seconds in which the latency of both is compared.")] = 60.0,
    least: Annotated[int, typer.Option(help="The fewest requests of its own clients in a step.")] = 100,
    holdback: Annotated[float, typer.Option(help="The share that its parent keeps after the last step.")] = 0.05,
    watch_s: Annotated[float, typer.Option("--watch", help="How long it keeps that share, in seconds.")] = 3600.0,
    deadline: Annotated[float, typer.Option(help="When to end without a verdict, in seconds.")] = 7 * 86400.0,
    budget: Annotated[int, typer.Option(help="Compared requests after which to end without a verdict.")] = 100_000,
    continues: Annotated[bool, typer.Option("--continue", help="Keep the evidence of the rollout before.")] = False,
    against_card: Annotated[
        str | None, typer.Option(help="Why to begin although the card proves the variant worse; for the journal.")
    ] = None,
    shadow: Shadow = 0.2,
    hold: Hold = 360.0,
    alpha: Alpha = 0.05,
    target: Target = HERE,
    as_json: AsJson = False,
) -> None:
    """Begin a rollout. Without a limit on quality, agreement or feedback, the largest loss of accuracy is 2 points."""
    guards = {"errors": guard_errors, "latency": guard_latency, "block_s": guard_block, "least": least}
    gate: dict[str, Any] = {
        "quality": 0.02 if (quality, agreement, feedback) == (None, None, None) else quality,
        "agreement": agreement,
        "errors": errors,
        "feedback": feedback,
        "latency": read_latency(latency),
        "cost": "lower" if cheaper else None,
        "alpha": alpha,
        "segment": segment,
        "guard": guards if guard else None,
    }
    plan = {
        "variant": variant,
        "steps": read_steps(steps),
        "shadow": shadow,
        "hold_s": hold,
        "gate": gate,
        "holdback": holdback,
        "watch_s": watch_s,
        "deadline_s": deadline,
        "budget": budget,
        "continues": continues,
        "against_card": against_card,
    }
    send(model, plan, target, as_json)


def read_steps(text: str) -> list[str | float]:
    """`shadow,10,50` as steps. The server refuses a step that is no number."""
    return [part if not part.replace(".", "", 1).isdigit() else float(part) for part in text.split(",") if part]


def read_latency(text: str | None) -> dict[str, float] | None:
    """`2.5:0.95` as an objective in seconds and a share. Raises InputError."""
    if text is None:
        return None
    try:
        objective, share = (float(part) for part in text.split(":"))
    except ValueError:
        raise InputError(f"{text!r} is not SECONDS:SHARE", field="--latency", mend="for example 2.5:0.95") from None
    return {"objective_s": objective, "share": share}


@rollouts.command()
def cheapest(
    model: ModelName,
    quality_floor: Annotated[float, typer.Option(help="The lowest share of the parent's quality.")] = 0.98,
    by: Annotated[str, typer.Option(help="quality, or agreement if requests have no labels.")] = "quality",
    guard: GuardFlag = True,
    shadow: Shadow = 0.2,
    hold: Hold = 360.0,
    alpha: Alpha = 0.05,
    target: Target = HERE,
    as_json: AsJson = False,
) -> None:
    """Try the variants that cost less than their parent, the cheapest first; stop at the first that passes."""
    search: dict[str, Any] = {
        "objective": "cheapest",
        "quality_floor": quality_floor,
        "by": by,
        "shadow": shadow,
        "hold_s": hold,
        "alpha": alpha,
    }
    if not guard:
        search["guard"] = None
    send(model, search, target, as_json)


@rollouts.command()
def status(model: ModelName, target: Target = HERE, as_json: AsJson = False) -> None:
    """Show the latest rollout and its current evidence."""
    send(model, None, target, as_json)


@rollouts.command()
def watch(model: ModelName, target: Target = HERE, as_json: AsJson = False) -> None:
    """Follow the latest rollout until it ends. Ctrl-C stops only the display. With --json: one line per change."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from serve.cli.rollout_text import describe_rollout
    from serve.client.client import Client

    if as_json or not sys.stdout.isatty():
        shown = ""
        for answer in Client(target).watch_rollout(model):
            text = json.dumps(answer) if as_json else describe_rollout(answer)
            if text != shown:
                print(text, flush=True)
            shown = text
        return
    with Live(console=Console(), refresh_per_second=2) as screen:
        for answer in Client(target).watch_rollout(model):
            screen.update(Text(describe_rollout(answer)))


@rollouts.command()
def pause(model: ModelName, target: Target = HERE, as_json: AsJson = False) -> None:
    """Pause a rollout at its current step; evidence is still collected."""
    send(model, None, target, as_json, "pause")


@rollouts.command()
def resume(model: ModelName, target: Target = HERE, as_json: AsJson = False) -> None:
    """Resume a paused rollout."""
    send(model, None, target, as_json, "resume")


@rollouts.command()
def abort(model: ModelName, target: Target = HERE, as_json: AsJson = False) -> None:
    """End a rollout and restore the traffic from before it."""
    send(model, None, target, as_json, "abort")


def send(
    model: str,
    document: dict[str, Any] | None,
    target: str,
    as_json: bool,
    action: Literal["pause", "resume", "abort"] | None = None,
) -> None:
    """Begin a rollout by a plan, steer it, or read it if there is neither. Print the server's answer."""
    from serve.cli.rollout_text import describe_rollout
    from serve.client.client import Client

    client = Client(target)
    if action:
        answer = client.steer_rollout(model, action)
    else:
        answer = client.start_rollout(model, document) if document else client.rollout(model)
    emit(answer, describe_rollout(answer), as_json)
