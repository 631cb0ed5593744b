"""Decoding several requests together: rows join after their prompt and leave as they end.

A prompt is computed together with others of like length; then each step gives every row one token. Runs in
one thread and knows nothing of HTTP, text or asyncio: `join` and `step` give back who got which token.
transformers' own continuous batching is not used, as it has no seed, logit bias or logprobs per request.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from transformers import Cache, PreTrainedModel

from serve.engines.base import Finish, Generation, Token
from serve.engines.torch.kv_cache import new_cache, regroup
from serve.engines.torch.sampling import Sampler, score_prompt

PROMPT_TOKENS = 2048
"""Most tokens, padding included, computed at once for prompts: between two steps of those who wait."""
PADDING = 1.5
"""Prompts are computed together as long as the longest is at most this many times the shortest."""


@dataclass
class Row:
    """One request in the batch. `gone` may be set by any thread: nobody waits for it any more.

    `deliver` is for whoever made the row; the batch never calls it. `adapter` is the one that it is computed with, ""
    for none: all rows of a batch have the same."""

    request: Generation
    deliver: Callable[[Token | None], None]
    adapter: str = ""
    gone: bool = False
    last: int = 0
    made: int = 0
    finished: bool = False
    sampler: Sampler = field(init=False)

    def __post_init__(self) -> None:
        self.sampler = Sampler(self.request)

    @property
    def length(self) -> int:
        """Tokens of this row that the cache holds: all but the newest."""
        return len(self.request.prompt) + self.made - 1

    @property
    def done(self) -> bool:
        return self.finished or self.gone


Given = list[tuple[Row, Token]]


class Batch:
    """The rows that are being decoded, and their cache."""

    def __init__(self, model: PreTrainedModel, ends: frozenset[int]) -> None:
        self.model, self.ends = model, ends
        self.rows: list[Row] = []
        self.cache: Cache | None = None

    def clear(self) -> None:
        """Forget all rows, after a failure that leaves the cache in no known state."""
        self.rows, self.cache = [], None

    @torch.inference_mode()
    def join(self, rows: Sequence[Row]) -> Given:
        """Compute the rows' prompts, give each its first token, and keep those that go on."""
        cache = new_cache()
        width = max(len(row.request.prompt) for row in rows)
        tokens = torch.zeros(len(rows), width, dtype=torch.long)
        for i, row in enumerate(rows):
            tokens[i, width - len(row.request.prompt) :] = torch.tensor(row.request.prompt)
        lengths = [len(row.request.prompt) for row in rows]
        scored = any(row.request.prompt_logprobs is not None for row in rows)
        given = self.advance(rows, tokens, cache, lengths, width, keep=width if scored else 1)
        staying = [i for i, row in enumerate(rows) if not row.done]
        if staying:
            self.regroup([(cache, [rows[i] for i in staying], staying)])
        return given

    @torch.inference_mode()
    def step(self) -> Given:
        """One more token for every row."""
        assert self.cache is not None
        tokens = torch.tensor([[row.last] for row in self.rows])
        lengths = [row.length + 1 for row in self.rows]
        columns = self.cache.get_seq_length() + 1
        given = self.advance(self.rows, tokens, self.cache, lengths, columns)
        if any(row.done for row in self.rows):
            self.regroup([])
        return given

    def regroup(self, joining: list[tuple[Cache, list[Row], list[int]]]) -> None:
        """Drop the rows that are done and take in those that join."""
        parts = list(joining)
        kept = [i for i, row in enumerate(self.rows) if not row.done]
        if kept and self.cache is not None:
            parts.insert(0, (self.cache, [self.rows[i] for i in kept], kept))
        self.rows = [row for _, rows, _ in parts for row in rows]
        self.cache = (
            regroup([(cache, at, [row.length for row in rows]) for cache, rows, at in parts]) if parts else None
        )

    def advance(
        self, rows: Sequence[Row], tokens: torch.Tensor, cache: Cache, lengths: list[int], columns: int, keep: int = 1
    ) -> Given:
        """Run the model on `tokens` [rows, new], of which each row's last is real; who gets which token next.

        `lengths` are the rows' tokens with the new ones, `columns` is the longest, padding included. `keep` of the new
        tokens get logits: the last alone, or all where a prompt is to be scored."""
        positions = (
            torch.arange(columns - tokens.shape[1], columns)[None]
            - torch.tensor([columns - length for length in lengths])[:, None]
        )
        mask = torch.arange(columns)[None] >= torch.tensor([columns - length for length in lengths])[:, None]
        logits = self.model(
            input_ids=tokens,
            attention_mask=mask.long(),
            position_ids=positions.clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        ).logits
        return [(row, self.next_token(row, scores)) for row, scores in zip(rows, logits, strict=True) if not row.gone]

    def next_token(self, row: Row, logits: torch.Tensor) -> Token:
        """The row's next token by the last of `logits` [kept, vocabulary]; with its first comes what its prompt
        scored, where that was asked for."""
        prompt = None
        if row.made == 0 and (wanted := row.request.prompt_logprobs) is not None:
            prompt = score_prompt(row.request.prompt, logits[-len(row.request.prompt) :], wanted)
        token = row.sampler.choose(logits[-1].float())
        row.last = token.id
        row.made += 1
        end = token.id in self.ends
        finish: Finish | None = None
        if end and not row.request.ignore_eos:
            finish = "stop"
        elif row.made == row.request.max_tokens:
            finish = "length"
        row.finished = finish is not None
        return replace(token, finish=finish, end=end, prompt=prompt)


def next_group(waiting: list[Row], most: int) -> list[Row]:
    """Take from `waiting` the rows whose prompts are computed next: the one that waited longest, and up to `most`
    in all that fit it, of the same adapter and of like length."""
    first = waiting[0]
    group = [first]
    shortest = longest = len(first.request.prompt)
    for row in waiting[1:]:
        length = len(row.request.prompt)
        low, high = min(shortest, length), max(longest, length)
        alike = row.adapter == first.adapter and len(group) < most
        if alike and high <= PADDING * low and high * (len(group) + 1) <= PROMPT_TOKENS:
            group.append(row)
            shortest, longest = low, high
    chosen = {id(row) for row in group}
    waiting[:] = [row for row in waiting if id(row) not in chosen]
    return group
