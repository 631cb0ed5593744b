"""Rows that join and leave a batch get the tokens that they would get alone.

The reference is transformers' own `generate`, one request at a time, in float32, so that a batch's other shapes do
not change a greedy choice."""

from collections.abc import Iterator

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from serve.engines.base import Generation, Token
from serve.engines.torch import kv_cache
from serve.engines.torch.attention import use_grouped_decode
from serve.engines.torch.batch import Batch, Row, next_group


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module", autouse=True, params=["sdpa", "grouped"])
def attention(model: LlamaForCausalLM, request: pytest.FixtureRequest) -> Iterator[None]:
    """All tests once with the reference's attention and once with our own."""
    if request.param == "grouped":
        use_grouped_decode(model)
    yield
    model.set_attn_implementation("sdpa")


@pytest.fixture(autouse=True)
def little_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the cache has to grow within a test."""
    monkeypatch.setattr(kv_cache, "SPARE", 3)


def prompt(seed: int, length: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(0, 97, (length,), generator=generator).tolist())


def row(request: Generation) -> Row:
    return Row(request, lambda token: None)


def greedy(seed: int, length: int, tokens: int, **more: object) -> Row:
    fields = {"temperature": 0.0, "ignore_eos": True} | more
    return row(Generation(prompt(seed, length), tokens, **fields))  # type: ignore[arg-type]


class Record:
    """What each row was given."""

    def __init__(self) -> None:
        self.tokens: dict[int, list[Token]] = {}

    def add(self, given: list[tuple[Row, Token]]) -> None:
        for receiver, token in given:
            self.tokens.setdefault(id(receiver), []).append(token)

    def ids(self, receiver: Row) -> list[int]:
        return [token.id for token in self.tokens[id(receiver)]]


def alone(model: LlamaForCausalLM, asked: Row) -> list[int]:
    in_use = model.config._attn_implementation
    model.set_attn_implementation("sdpa")
    ids = torch.tensor([asked.request.prompt])
    made = model.generate(ids, max_new_tokens=asked.request.max_tokens, do_sample=False, eos_token_id=None)
    model.set_attn_implementation(in_use)
    return made[0, ids.shape[1] :].tolist()


def drain(batch: Batch, record: Record) -> None:
    while batch.rows:
        record.add(batch.step())


def test_rows_of_all_lengths_that_come_and_go_get_what_they_would_get_alone(model: LlamaForCausalLM) -> None:
    first = [greedy(1, 9, 30), greedy(2, 4, 5), greedy(3, 9, 1)]
    second = [greedy(4, 25, 12), greedy(5, 1, 20)]
    batch, record = Batch(model, frozenset()), Record()
    record.add(batch.join(first))
    assert len(batch.rows) == 2
    for _ in range(6):
        record.add(batch.step())
    assert batch.rows == [first[0]]
    record.add(batch.join(second))
    drain(batch, record)
    assert batch.cache is None
    for asked in first + second:
        assert record.ids(asked) == alone(model, asked)
        assert [token.finish for token in record.tokens[id(asked)]][-1] == "length"


def test_padding_is_given_up_when_the_longest_row_leaves(model: LlamaForCausalLM) -> None:
    long, short = greedy(6, 40, 2), greedy(7, 3, 15)
    batch, record = Batch(model, frozenset()), Record()
    record.add(batch.join([long, short]))
    assert batch.cache is not None
    assert batch.cache.get_seq_length() == 40
    record.add(batch.step())
    assert batch.cache.get_seq_length() == 4
    drain(batch, record)
    assert record.ids(short) == alone(model, short)


def test_a_row_that_nobody_waits_for_leaves_and_disturbs_nobody(model: LlamaForCausalLM) -> None:
    staying, leaving = greedy(8, 5, 10), greedy(9, 7, 10)
    batch, record = Batch(model, frozenset()), Record()
    record.add(batch.join([leaving, staying]))
    leaving.gone = True
    record.add(batch.step())
    assert batch.rows == [staying]
    drain(batch, record)
    assert len(record.ids(leaving)) == 1
    assert record.ids(staying) == alone(model, staying)


def test_an_end_token_ends_an_answer_unless_it_is_to_be_ignored(model: LlamaForCausalLM) -> None:
    free = greedy(10, 6, 12)
    third = alone(model, free)[2]
    stopping = greedy(10, 6, 12, ignore_eos=False)
    batch, record = Batch(model, frozenset({third})), Record()
    record.add(batch.join([free, stopping]))
    drain(batch, record)
    last = record.tokens[id(stopping)][-1]
    assert (last.id, last.finish, last.end) == (third, "stop", True)
    assert len(record.ids(stopping)) == alone(model, free).index(third) + 1
    assert len(record.ids(free)) == 12


def test_a_seed_gives_the_same_tokens_in_any_company(model: LlamaForCausalLM) -> None:
    def sampled() -> Row:
        return row(Generation(prompt(11, 8), 15, temperature=1.3, top_p=0.9, seed=42, ignore_eos=True))

    batch, record = Batch(model, frozenset()), Record()
    by_itself, in_company = sampled(), sampled()
    record.add(batch.join([by_itself]))
    drain(batch, record)
    record.add(batch.join([greedy(12, 11, 9), in_company]))
    drain(batch, record)
    assert record.ids(by_itself) == record.ids(in_company)


def test_prompts_of_like_length_are_computed_together() -> None:
    waiting = [greedy(length, length, 1) for length in (10, 100, 12, 14, 16, 11)]
    group = next_group(waiting, 4)
    assert [len(asked.request.prompt) for asked in group] == [10, 12, 14, 11]
    assert [len(asked.request.prompt) for asked in waiting] == [100, 16]
    assert [len(asked.request.prompt) for asked in next_group(waiting, 4)] == [100]
