"""The HTTP request for one content of a plan: what its task asks, and what only a load test adds."""

import base64
from dataclasses import replace

from loadtest.campaign.plan import Content, Pool
from variants.tasks.base import Chat, Input, Prompt
from variants.tasks.requests import TENSORS, Request, request_for

OUTPUTS = {"image": ("labels",), "article": ("labels",), "boxes": ("boxes", "scores", "labels")}


def load_request(pool: Pool, content: Content, variant: str | None, client: str | None) -> Request:
    """`variant` asks that variant alone. `client` is a virtual client that the server keeps on one variant."""
    headers = {"Accept-Encoding": "identity", "x-understudy-task": pool.task}
    fields: dict[str, object] = {}
    if content.label is not None and pool.kind != "pair":  # the server refuses the score of one pair
        # The server has the schema, which may be too long for a header.
        headers["x-understudy-label"] = pool.kind if pool.kind == "schema" else content.label
    if client is not None and pool.kind in TENSORS:
        headers["x-understudy-client"] = client
    elif client is not None:
        fields["user"] = client
    fields |= pool.fields
    if pool.kind == "label":
        fields["logit_bias"] = pool.logit_bias
    elif pool.kind == "text":
        fields |= {"max_tokens": pool.max_tokens, "stream": True, "stream_options": {"include_usage": True}}
        if pool.ignore_eos:
            fields["ignore_eos"] = True
    outputs = OUTPUTS.get(pool.kind, ())
    request = request_for(pool.kind, pool.model, _input(content), fields, version=variant, outputs=outputs)
    return replace(request, headers=request.headers | headers)


def _input(content: Content) -> Input:
    """The example's input, from which the planner made the content."""
    if content.png is not None:
        return base64.b64decode(content.png)
    if content.texts is not None:
        return content.texts
    if content.messages is not None:
        return Chat(content.messages)
    assert content.text is not None
    return content.text if content.seed is None else Prompt(content.text, content.seed)
