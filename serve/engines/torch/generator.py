"""Text generation by transformers on torch, bitsandbytes folders among them.

For what vLLM does not run, or not on this machine. One thread computes, the event loop serves; between
them there is one queue in, and per step one call out that carries every row's token. bitsandbytes weights
stay in their 4 or 8 bits in memory. Rows of the same adapter are a batch; batches take turns, a step each.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

import jinja2
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from serve.engines.base import Decoder, Generation, Token
from serve.engines.http.server import EngineFault
from serve.engines.torch.adapters import TorchAdapters, keep_unpacked
from serve.engines.torch.attention import use_grouped_decode
from serve.engines.torch.batch import Batch, Row, next_group
from variants.errors import EngineError, InputError
from variants.machine import multiplies_bfloat16

log = logging.getLogger("understudy.engine")
ATTENTION = {"full_attention"}
PRIMING = 6
"""Tokens of the prompt's end that a decoder sees first, as some tokenizers drop the space before a first word."""


class TorchDecoder:
    """tokenizers' own incremental decoder, after the end of the prompt."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int]) -> None:
        self.tokenizer = tokenizer
        self.stream = DecodeStream(ids=list(prompt[-PRIMING:]), skip_special_tokens=True)

    def step(self, token: int) -> str:
        return self.stream.step(self.tokenizer, token) or ""


class TorchGenerator:
    """The text engine. `batch` is the most requests decoded together."""

    def __init__(self, folder: Path, context: int, batch: int, *, takes_adapters: bool = False) -> None:
        """Raises EngineError where the folder holds no causal language model that this engine runs."""
        self.model, self.tokenizer = load(folder)
        if takes_adapters:
            keep_unpacked(self.model)
        config = self.model.config.get_text_config()
        self.context = min(context, config.max_position_embeddings)
        self.vocabulary = config.vocab_size
        self.longest = max(map(len, self.tokenizer.get_vocab()))
        self.limit = batch
        self.ends = end_tokens(self.model, self.tokenizer)
        self.adapters = TorchAdapters(self.model)
        self.batches: dict[str, Batch] = {}
        self.waiting: list[Row] = []
        self.inbox: queue.SimpleQueue[Row | Callable[[], None]] = queue.SimpleQueue()
        self.warm_up()
        threading.Thread(target=self.run, name="decode", daemon=True).start()

    def encode(self, text: str, *, special: bool) -> list[int]:
        # A batch of one: `encode_batch` lets go of the interpreter's lock, `encode` does not.
        return list(self.tokenizer.backend_tokenizer.encode_batch([text], add_special_tokens=special)[0].ids)

    def chat_text(self, messages: Sequence[dict[str, str]]) -> str:
        if self.tokenizer.chat_template is None:
            raise InputError("this model has no chat template", field="messages", mend="POST to /v1/completions")
        try:
            return str(self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))
        except jinja2.TemplateError as error:
            raise InputError(
                f"the model's chat template refuses them: {error}", field="messages", mend="other roles or order"
            ) from None

    def decoder(self, prompt: Sequence[int]) -> Decoder:
        return TorchDecoder(self.tokenizer.backend_tokenizer, prompt)

    def piece(self, token: int) -> bytes:
        return str(self.tokenizer.backend_tokenizer.decode([token], skip_special_tokens=False)).encode()

    async def generate(self, request: Generation) -> AsyncGenerator[list[Token], None]:
        outbox: asyncio.Queue[Token | None] = asyncio.Queue()
        adapter = request.model if request.model in self.adapters.loaded else ""
        row = Row(request, outbox.put_nowait, adapter)
        self.loop = asyncio.get_running_loop()
        self.inbox.put(row)
        try:
            while (token := await outbox.get()) is not None:
                yield [token]
            raise EngineFault("the model failed on this batch", mend="see the engine's log")
        finally:
            row.gone = True

    async def load_adapter(self, name: str, folder: Path) -> None:
        """Raises EngineError."""
        await self.between_steps(lambda: self.adapters.load(name, folder))

    async def unload_adapter(self, name: str) -> None:
        """Whoever is still answered by it gets no more."""
        await self.between_steps(lambda: self.forget(name))

    async def between_steps(self, work: Callable[[], None]) -> None:
        """Do it in the computing thread. Raises what it raises."""
        done: Future[None] = Future()

        def now() -> None:
            try:
                work()
                done.set_result(None)
            except Exception as error:
                done.set_exception(error)

        self.inbox.put(now)
        await asyncio.wrap_future(done)

    def forget(self, adapter: str) -> None:
        left = [row for row in [*self.rows, *self.waiting] if row.adapter == adapter]
        self.batches.pop(adapter, None)
        self.waiting = [row for row in self.waiting if row.adapter != adapter]
        if left:
            self.hand_over([(row, None) for row in left])
        self.adapters.unload(adapter)

    def batch_for(self, adapter: str) -> Batch:
        """The batch of an adapter's rows, the model ready to compute with it."""
        if adapter != self.adapters.active:
            self.adapters.use(adapter)
        return self.batches.setdefault(adapter, Batch(self.model, self.ends))

    @property
    def rows(self) -> list[Row]:
        """All that are being decoded."""
        return [row for batch in self.batches.values() for row in batch.rows]

    def run(self) -> None:
        """The computing thread: takes rows in, computes, hands tokens to the event loop; for ever."""
        while True:
            self.collect()
            group: list[Row] = []
            try:
                room = self.limit - len(self.rows)
                if self.waiting and room > 0:
                    group = next_group(self.waiting, room)
                    self.hand_over(self.batch_for(group[0].adapter).join(group))
                for adapter in [name for name, batch in self.batches.items() if batch.rows]:
                    self.hand_over(self.batch_for(adapter).step())
            except Exception:
                log.exception("a batch failed")
                failed = {id(row): row for row in [*group, *self.rows]}
                self.batches.clear()
                self.hand_over([(row, None) for row in failed.values()])

    def collect(self) -> None:
        """Take in the rows that have come, do what else is asked; sleeps while there is nothing to do."""
        self.waiting = [row for row in self.waiting if not row.gone]
        idle = not self.waiting and not self.rows
        while idle or not self.inbox.empty():
            found = self.inbox.get()
            if isinstance(found, Row):
                self.waiting.append(found)
            else:
                found()
            idle = False

    def hand_over(self, given: Sequence[tuple[Row, Token | None]]) -> None:
        """One call into the event loop for a whole step, as each such call wakes it up."""

        def deliver() -> None:
            for row, token in given:
                row.deliver(token)

        self.loop.call_soon_threadsafe(deliver)

    def warm_up(self) -> None:
        """Compute a little: bitsandbytes repacks its weights when they are first used."""
        for size in (1, 2):
            request = Generation(prompt=(0,) * 4, max_tokens=3, temperature=0, ignore_eos=True)
            batch = self.batch_for("")
            batch.join([Row(request, lambda token: None) for _ in range(size)])
            while batch.rows:
                batch.step()


def load(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The model in eval mode and its tokenizer. Raises EngineError."""
    transformers_logging.disable_progress_bar()
    mend = "a Hugging Face folder with config.json, safetensors and tokenizer.json"
    dtype = computing_dtype()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True
        ).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        raise EngineError(f"no causal language model: {error}", field="--artifact", mend=mend) from None
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise EngineError("its tokenizer is not of the tokenizers library", field="--artifact", mend=mend)
    other = set(getattr(model.config.get_text_config(), "layer_types", None) or ()) - ATTENTION
    if other:
        kinds = ", ".join(sorted(other))
        raise EngineError(f"layers of {kinds}", field="config.layer_types", mend="a model of full attention only")
    use_grouped_decode(model)
    if dtype != "auto":
        compute_in(model, torch.float32)
    return model, tokenizer


def computing_dtype() -> str | torch.dtype:
    """As stored; float32, which is several times as fast, where the CPU does not multiply bfloat16 (no AVX-512)."""
    return "auto" if multiplies_bfloat16() else torch.float32


def compute_in(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Have bitsandbytes' 4-bit layers multiply in `dtype`, whatever their configuration names."""
    for module in model.modules():
        if hasattr(module, "compute_dtype"):
            module.compute_dtype = dtype  # type: ignore[assignment]


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """Ids that end an answer: the tokenizer's own and those of the generation config."""
    listed = model.generation_config.eos_token_id if model.generation_config else None
    several = listed if isinstance(listed, list) else [listed]
    return frozenset(token for token in [*several, tokenizer.eos_token_id] if token is not None)
