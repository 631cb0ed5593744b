"""The command `understudy recommend`: which variant of a model to serve, by its cards, a short load, or a campaign."""

from pathlib import Path
from typing import Annotated

import typer

from serve.cli.options import DEMO_STACK, AsJson, emit
from variants.errors import InputError


def recommend(
    model: Annotated[str, typer.Argument(help="The model.")],
    stack: Annotated[Path, typer.Option(help="The stack file.")] = DEMO_STACK,
    slo: Annotated[str | None, typer.Option(help='"ttft<0.5s" or "latency<2s", for 95 % of the requests.')] = None,
    floor: Annotated[float, typer.Option(min=0, max=1, help="The least share of the baseline's quality.")] = 0.98,
    campaign_results: Annotated[
        Path | None, typer.Option(help="summary.json of a campaign, instead of cards and a short load.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="A server that serves the stack, for a short load.")] = None,
    price: Annotated[float | None, typer.Option(min=0, help="What an hour of this machine costs.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write a stack file that rolls the variant out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Name the variant that costs least, keeps the quality and answers in time, or say that it cannot be told.

    Costs are engine-seconds for 1,000 requests at saturation. Exit codes: 2 a wrong option, or nothing is measured; 5
    the server does not answer.
    """
    from serve.cli.recommendation.figures import figures_of, read_objective
    from serve.cli.recommendation.report import describe, document_of, with_rollout
    from serve.config.loader import load
    from variants.evidence.recommendation import recommend as decide
    from variants.files import write_atomic

    loaded, objective = load(stack), None if slo is None else read_objective(slo)
    figures = figures_of(loaded, model, objective, campaign_results, target)
    answer = decide([each.candidate for each in figures], floor, objective is not None)
    document = document_of(model, figures, answer, floor, price)
    emit(document, describe(document, slo), as_json)
    if out is not None:
        if answer.variant is None:
            raise InputError("no stack is written, since no variant can be told", field="--out")
        write_atomic(out, with_rollout(loaded, model, answer.variant, floor))
