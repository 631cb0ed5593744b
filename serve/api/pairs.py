"""Pairs whose answers differ: reading the kept ones, and opinions on which answer is better.

GET   /admin/v1/models/{model}/pairs     kept pairs with prompt and answers, where `keep_answers` keeps them
POST  /v1/feedback                       a label or an outcome for such a pair; a score goes to the controller

An opinion joins the other evidence on the same way as a comparison: by the observations of this ingress.
"""

import asyncio
import time
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from starlette.requests import Request

from serve.config.loader import refusal
from serve.control.contract import ControllerClient
from serve.dataplane.upstreams import Upstreams
from serve.errors import Forbidden
from serve.protocols import answer_id
from serve.protocols.uncounted import UNCOUNTED
from serve.shadow.opinions.answer_keeper import AnswerKeeper
from serve.shadow.opinions.answer_store import Kept
from serve.shadow.tally import Tally
from variants.document import Document, absent, exactly
from variants.errors import InputError
from variants.metrics.answer_scores import score_of
from variants.metrics.scoring import label_matches, text_matches

MOST = 1000
REPORTED_S = 5.0
"""A pair that is older has reached the controller, which knows whether it counts."""
By = Literal["person", "label"]
PERSON: By = "person"
LABEL: By = "label"


class Opinion(Document):
    """What is better for one request: its right answer (`label`, of the task `task`), or whether `variant` answered
    better (1), alike (0) or worse (-1) than its parent. `id` is the answer's `x-understudy-id`, `request_id` the `id`
    of a kept pair."""

    id: str | None = Field(default=None, exclude_if=absent)
    request_id: Annotated[str, Field(pattern="^[0-9a-f]{16}$")] | None = Field(default=None, exclude_if=absent)
    label: Annotated[str, Field(max_length=10_000)] | None = Field(default=None, exclude_if=absent)
    task: str | None = Field(default=None, exclude_if=absent)
    variant: str | None = Field(default=None, exclude_if=absent)
    outcome: Annotated[Literal[-1, 0, 1], exactly(int)] | None = Field(default=None, exclude_if=absent)

    @model_validator(mode="after")
    def check_what(self) -> Self:
        if (self.id is None) == (self.request_id is None):
            raise ValueError("give the request by one of id and request_id")
        if (self.label is None) == (self.outcome is None):
            raise ValueError("give one of label and outcome, or a score with an id")
        if self.outcome is not None and None in (self.request_id, self.variant):
            raise ValueError("an outcome needs the request_id of a kept pair and its variant")
        return self


class Pairs:
    """Kept pairs of this server, and opinions on them, which are counted by `tally`."""

    def __init__(self, upstreams: Upstreams, keeper: AnswerKeeper, tally: Tally) -> None:
        self.upstreams, self.keeper, self.tally = upstreams, keeper, tally

    async def read(self, request: Request) -> dict[str, Any]:
        """Raises UnknownName, InputError where the model's answers are not kept."""
        model, variant = str(request.path_params["model"]), request.query_params.get("variant")
        limit = request.query_params.get("limit", "100")
        of_model = self.upstreams.model(model)
        if variant is not None and variant not in of_model:
            raise InputError(f"{model} has no variant {variant!r:.80}", field="variant")
        if not limit.isdecimal() or len(limit) > 4 or not 0 < int(limit) <= MOST:
            raise InputError(f"{limit!r:.80} is not a number of pairs", field="limit", mend=f"1 to {MOST}")
        if model not in self.keeper.settings:
            mend = "set keep_answers for the model in the stack file: keep_answers: {days: 7}"
            raise InputError(f"answers of {model} are not kept", field="model", mend=mend)
        kept = await asyncio.to_thread(self.keeper.store.read, model, variant, int(limit))
        return {"model": model, "pairs": [document_of(each) for each in kept]}

    async def judge(self, document: dict[str, Any], key: str | None, controller: ControllerClient) -> dict[str, Any]:
        """Count an opinion on kept pairs; `key` is the name of the sender's API key. Only the first on a pair counts.
        Where none counts, `why` says the reason.

        Raises InputError, Forbidden, NotReady."""
        try:
            opinion = Opinion.model_validate(document)
        except ValidationError as error:
            raise refusal(error, Opinion) from None
        keys = self.upstreams.snapshot.stack.server.keys or {}
        if opinion.label is not None and keys and not keys[str(key)].is_trusted_to_label:
            message = f"the key {key!r} is not trusted to say which of two answers is right"
            raise Forbidden(message, mend="a key whose `rights` name label may")
        request = opinion.request_id
        if opinion.id is not None:
            request = self.upstreams.hash_keys.request_of(answer_id.read(opinion.id).request)
        kept = [
            each
            for each in await asyncio.to_thread(self.keeper.store.of_request, str(request))
            if each.difference.model in self.keeper.settings and opinion.variant in (None, each.difference.variant)
        ]
        if not kept:
            mend = "equal answers need no opinion; the others are kept where the stack file has keep_answers"
            raise InputError("no differing answers of this request are kept", field="request_id", mend=mend)
        reasons = [await self.count(each, opinion, controller) for each in kept]
        latest = kept[0].difference
        receipt = {"counted": None in reasons, "model": latest.model, "variant": latest.variant}
        return receipt if None in reasons else receipt | {"why": reasons[0]}

    async def count(self, kept: Kept, opinion: Opinion, controller: ControllerClient) -> str | None:
        """Count an opinion on one pair. Gives why it does not count; None where it does. Raises NotReady."""
        outcome: int | None = opinion.outcome
        by = LABEL if outcome is None else PERSON
        if outcome is None:
            outcome = await asyncio.to_thread(self.by_label, kept, opinion)
        if outcome is None:
            return UNCOUNTED["neither"]
        if kept.outcome is not None:
            return UNCOUNTED["first"]
        # the controller may not be ready: noted before that, the opinion would never count
        if time.time() - kept.difference.at > REPORTED_S:
            why = await controller.why_not_counted(kept.difference.key, kept.difference.id)
            if why is not None:
                return why
        if not await asyncio.to_thread(self.keeper.store.note, kept.difference, outcome, by):
            return UNCOUNTED["first"]
        if self.tally.opinion(kept.difference, outcome, by):
            return None
        await asyncio.to_thread(self.keeper.store.withdraw, kept.difference)
        return UNCOUNTED["full"]

    def by_label(self, kept: Kept, opinion: Opinion) -> int | None:
        """Which answer scores more by the label; None where neither is right, since a junk label would say the same."""
        generates = self.upstreams.models[kept.difference.model].task == "text-generation"
        kind, label = self.upstreams.kind_of(opinion.task), str(opinion.label)

        def score(answer: str) -> float:
            if not generates:
                return float(label_matches(answer, label))
            scored = score_of(kind, answer, label)
            return float(text_matches(answer, label)) if scored is None else scored

        variant, parent = (score(answer) for answer in kept.difference.answers)
        return (variant > parent) - (variant < parent) if max(variant, parent) > 0 else None


def document_of(kept: Kept) -> dict[str, Any]:
    """A kept pair as the API shows it."""
    each = kept.difference
    return {
        "id": each.id,
        "at": each.at,
        "variant": each.variant,
        "parent": each.parent,
        "evidence": each.key,
        "prompt": each.prompt,
        "answers": dict(zip(("variant", "parent"), each.answers, strict=True)),
        "known": each.known,
        "outcome": kept.outcome,
        "by": kept.by,
    }
