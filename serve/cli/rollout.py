"""The commands `understudy traffic` and `understudy rollout`. They import what they need when they run."""

import json
import sys
from typing import Annotated, Any, Literal

import typer

from serve.cli import rollout_options as options
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
    quality: options.Quality = None,
    agreement: options.Agreement = None,
    preference: options.Preference = None,
    errors: options.Errors = None,
    feedback: options.Feedback = None,
    latency: options.Latency = None,
    cheaper: options.Cheaper = False,
    segment: options.Segment = None,
    guard: GuardFlag = True,
    guard_errors: options.GuardErrors = 0.01,
    guard_latency: options.GuardLatency = 1.25,
    guard_block: options.GuardBlock = 60.0,
    least: options.Least = 100,
    holdback: options.Holdback = 0.05,
    watch_s: options.Watch = 3600.0,
    deadline: options.Deadline = 7 * 86400.0,
    budget: options.Budget = 100_000,
    aa: options.AgainstItself = False,
    continues: options.Continues = False,
    against_card: options.AgainstCard = None,
    shadow: Shadow = 0.2,
    hold: Hold = 360.0,
    alpha: Alpha = 0.05,
    target: Target = HERE,
    as_json: AsJson = False,
) -> None:
    """Begin a rollout. Without a limit on quality, agreement, preference or feedback, the largest loss of accuracy is 2
    points.

    Its clients' errors and latency are compared with its parent's at each step (--guard).
    """
    none_given = (quality, agreement, preference, feedback) == (None, None, None, None)
    limits: dict[str, Any] = {"quality": 0.02 if none_given else quality, "agreement": agreement, "errors": errors}
    limits |= {"preference": preference, "feedback": feedback, "latency": read_latency(latency), "segment": segment}
    watched = {"errors": guard_errors, "latency": guard_latency, "block_s": guard_block, "least": least}
    gate = {**limits, "cost": "lower" if cheaper else None, "alpha": alpha, "guard": watched if guard else None}
    plan = {"variant": variant, "steps": read_steps(steps), "shadow": shadow, "hold_s": hold, "gate": gate}
    plan |= {"holdback": holdback, "watch_s": watch_s, "deadline_s": deadline, "budget": budget}
    plan |= {"aa": True, "steps": ["shadow"]} if aa else {}
    send(model, plan | {"continues": continues, "against_card": against_card}, target, as_json)


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
