"""Sessions: texts that a model reads and goes on with."""

from __future__ import annotations

import ctypes
import threading
from array import array
from contextlib import contextmanager
from ctypes import byref, c_char_p, c_size_t
from functools import partial
from typing import Any, Callable, Iterator, NamedTuple, Optional, Sequence, Union

from . import _call as calls
from . import _errors as errors
from . import _layout as layout
from ._constraint import Constraint
from ._cpus import default_threads
from ._generation import Generation, Generations
from ._handles import SessionHandle
from ._library import library
from ._messages import Message
from ._model import Model
from ._piece import Candidate
from ._reply import Request, candidate
from ._sampling import Sampling
from ._values import text, tokens, unsigned
from ._worker import Worker

Prompt = Union[str, Sequence[int]]
"""A text, or tokens."""

_KV = {"int8": layout.KV_INT8, "f16": layout.KV_F16}
_POOLING = {"mean": layout.POOL_MEAN, "last": layout.POOL_LAST}


class SessionInfo(NamedTuple):
    """What a session is, and how far its text is."""

    bytes: int
    """Bytes of the session's memory."""
    tokens: int
    """Tokens of the text."""
    context: int
    """Positions of the cache: the tokens that a text can have."""
    batch: int
    """Tokens per step of a prompt."""
    threads: int
    """Threads that work on a step."""
    tier: str
    """The name of what computes."""
    texts: int
    """Texts, each with as many positions."""
    device_bytes: int
    """Bytes beside that which a device takes; 0 where the processor computes."""


class Session:
    """A text that a model reads and goes on with, and the memory for that.

    `context`: tokens that the text can have; by default 2048, or what the model and the budget
    allow.
    `kv`: how keys and values are kept, "int8" or "f16", which takes twice the memory.
    `threads`: threads that compute, by default one for each processor of the fastest kind.
    `tier`: the kernels, such as "neon-dot", or "cuda"; by default the processor's best. "auto"
    takes an NVIDIA device where a short trial finds it faster, and `tier_reason` says why or why
    not; the trial reckons with `expected_tokens`, of prompt and reply.
    `memory_budget_bytes`: what weight file, session and stacks may take together. Raises
    `BudgetError` for what does not fit.
    `texts`: texts that `generate_all` can go on with in one pass, up to 8, each with a context of
    its own. All other methods are about the first.
    `batch`: tokens per step of a prompt, by default 64.
    `speculate`: guesses tokens from the text so far and checks several in one step; the same
    tokens, faster where a reply copies, for more memory.

    One thread at a time can use a session, and a generation uses it until it ends: everybody else
    gets a `BusyError`. `cancel` and `close` alone can be called at any time. Make sessions after a
    fork, not before it: in a child they raise `ClosedError`.
    """

    def __init__(
        self,
        model: Model,
        *,
        context: Optional[int] = None,
        kv: str = "int8",
        threads: Optional[int] = None,
        tier: Optional[str] = None,
        memory_budget_bytes: Optional[int] = None,
        texts: int = 1,
        batch: Optional[int] = None,
        speculate: bool = True,
        expected_tokens: tuple[int, int] = (256, 256),
    ) -> None:
        options = layout.sized(
            layout.SessionOptions(
                context=_given(context, "context"),
                batch=_given(batch, "batch"),
                threads=_given(threads, "threads"),
                kv=_named(_KV, kv, "kv"),
                flags=layout.SESSION_SPECULATE if speculate else 0,
                texts=_given(texts, "texts"),
                memory_budget_bytes=_given(memory_budget_bytes, "memory_budget_bytes", 63),
            )
        )
        if tier not in (None, "auto"):
            options.tier = text(tier, "the tier")
        if threads is None and tier != "cuda":
            options.threads = default_threads()
        self.model: Model = model
        """The session's model."""
        self.tier_reason: str = ""
        """Why the tier "auto" has chosen what it has."""
        if tier == "auto":
            self.tier_reason = _choose_tier(model, options, expected_tokens)
            if threads is None and options.tier == b"cuda":
                options.threads = 0
        self._handle: Optional[SessionHandle] = None
        self._lock = threading.Lock()
        self._worker: Optional[Worker[Any]] = None
        with model._lock:
            self._handle = SessionHandle(model._use(), options)
            model._sessions.add(self)

    def _use(self) -> SessionHandle:
        """The handle, kept by whoever calls the library with it."""
        handle = self._handle
        if handle is None:
            raise errors.error(errors.BAD_HANDLE, "the session was closed")
        if not handle.is_of_this_process():
            message = "the session belongs to the parent of this process: make one here"
            raise errors.error(errors.BAD_HANDLE, message)
        return handle

    def _take(self) -> SessionHandle:
        """The handle, for whoever is alone with it until the lock is released."""
        handle = self._use()
        if not self._lock.acquire(blocking=False):
            message = "the session is in use, on another thread or by a generation that has not"
            raise errors.error(errors.BUSY, f"{message} ended: read it to its end, or close it")
        return handle

    @contextmanager
    def _alone(self) -> Iterator[SessionHandle]:
        handle = self._take()
        try:
            yield handle
        finally:
            self._lock.release()

    def _begin(self, work: Callable[[SessionHandle, Worker[Any]], None]) -> Worker[Any]:
        """Work on a thread, which is alone with the session until it ends."""
        handle = self._take()
        worker: Worker[Any] = Worker(partial(work, handle), self._lock.release)
        self._worker = worker
        if self._handle is None:
            # Closed meanwhile, by somebody who did not see the worker yet.
            worker.stop()
            self._use()
        return worker

    def _call(self, requests: Sequence[Request], deadline_seconds: Optional[float]) -> calls.Call:
        return calls.Call(requests, self.model.info.vocabulary, deadline_seconds)

    def _tokens_of(self, prompt: Prompt) -> Sequence[int]:
        return self.model.encode(prompt) if isinstance(prompt, str) else prompt

    def prefill(self, prompt: Prompt) -> None:
        """Appends a prompt to the text.

        `ArgumentError` 401 when it does not fit into the context. After `CancelledError` and
        Ctrl-C the text has what was read until then.
        """
        given = tokens(self._tokens_of(prompt))
        worker = self._begin(lambda handle, worker: calls.prefill(handle, given, worker))
        try:
            worker.take()
        except StopIteration:
            return
        except BaseException:
            worker.stop()
            raise

    def generate(
        self,
        prompt: Optional[Prompt] = None,
        *,
        max_tokens: int = 256,
        sampling: Optional[Sampling] = None,
        stop: Sequence[str] = (),
        schema: Optional[bytes] = None,
        constraint: Optional[Constraint] = None,
        logprobs: Optional[int] = None,
        ignore_end: bool = False,
        slide: bool = False,
        deadline_seconds: Optional[float] = None,
    ) -> Generation:
        """Appends a prompt to the text, if there is one, and goes on with it.

        `max_tokens`: tokens to generate at most; 0 sets no limit.
        `sampling`: how tokens are chosen, from now on and from the start of the seed's random
        sequence; without it as before, at first greedily.
        `stop`: up to 8 strings that end the reply and are not part of it.
        `schema`: a table of `kinglet compile-schema`, whose JSON schema the reply then has.
        `constraint`: an object that decides what the reply may be.
        `logprobs`: tells each token's probability and those of so many most probable ones, over
        all logits. Every logit of every token is computed then.
        `ignore_end`: goes on behind tokens that end a reply.
        `slide`: goes on when the context is full, with the text's first 4 tokens and its last ones.
        `deadline_seconds`: ends the reply; while the prompt is read it is a `DeadlineError`.
        """
        given = None if prompt is None else self._tokens_of(prompt)
        request = Request(
            given,
            is_whole=False,
            max_tokens=max_tokens,
            sampling=sampling,
            stop=stop,
            schema=schema,
            constraint=constraint,
            logprobs=logprobs,
            ignore_end=ignore_end,
            slide=slide,
        )
        return Generation(self._call([request], deadline_seconds), self._begin)

    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Optional[bytes] = None,
        max_tokens: int = 256,
        sampling: Optional[Sampling] = None,
        stop: Sequence[str] = (),
        schema: Optional[bytes] = None,
        constraint: Optional[Constraint] = None,
        logprobs: Optional[int] = None,
        ignore_end: bool = False,
        slide: bool = False,
        deadline_seconds: Optional[float] = None,
    ) -> Generation:
        """Replies to a conversation, whose beginning is not read again if the text has it.

        `messages`: all turns so far, as `{"role": "user", "content": "Hello"}`; roles are system,
        user and assistant. Append the reply and the next turn for the next call.
        `tools`: a table of functions that the model can call (`kinglet compile-schema --tools`).
        The reply is words or calls, see `read_calls`, unless `schema` or `constraint` says what it
        is; what a function returned becomes a message of the role tool.
        The rest is as for `generate`.
        """
        given = self.model.chat_tokens(messages, tools=tools)
        if constraint is None and schema is None:
            schema = tools
        request = Request(
            given,
            is_whole=True,
            max_tokens=max_tokens,
            sampling=sampling,
            stop=stop,
            schema=schema,
            constraint=constraint,
            logprobs=logprobs,
            ignore_end=ignore_end,
            slide=slide,
        )
        return Generation(self._call([request], deadline_seconds), self._begin)

    def generate_all(
        self,
        prompts: Sequence[Prompt],
        *,
        max_tokens: int = 256,
        samplings: Optional[Sequence[Sampling]] = None,
        stop: Sequence[str] = (),
        schema: Optional[bytes] = None,
        logprobs: Optional[int] = None,
        ignore_end: bool = False,
        slide: bool = False,
        deadline_seconds: Optional[float] = None,
    ) -> Generations:
        """Goes on with several prompts in one pass: faster than one after the other, and each reply
        is what it would be alone.

        `prompts`: as many as the session has `texts` at most, for conversations the tokens of
        `Model.chat_tokens`. Each replaces the text of its place; what that already has of the
        prompt is not read again.
        `samplings`: how the tokens of each are chosen. The rest is as for `generate`.
        """
        if samplings is not None and len(samplings) != len(prompts):
            message = f"{len(samplings)} samplings for {len(prompts)} prompts: give one for each"
            raise errors.error(errors.BAD_ARGUMENT, message)
        requests = [
            Request(
                self._tokens_of(prompt),
                is_whole=True,
                max_tokens=max_tokens,
                sampling=None if samplings is None else samplings[number],
                stop=stop,
                schema=schema,
                logprobs=logprobs,
                ignore_end=ignore_end,
                slide=slide,
            )
            for number, prompt in enumerate(prompts)
        ]
        return Generations(self._call(requests, deadline_seconds), self._begin)

    def embed(self, prompt: Prompt, *, pooling: str = "mean") -> array[float]:
        """What the model makes of a text: a vector of length 1, to compare by products.

        `pooling`: "mean" of all tokens' hidden states, or that of the "last" one. Replaces the
        session's text. Ctrl-C takes effect when it is done.
        """
        given = tokens(self._tokens_of(prompt))
        kind, size = _named(_POOLING, pooling, "pooling"), self.model.info.embedding_size
        found = (ctypes.c_float * size)()
        with self._alone() as handle:
            status = library.kinglet_session_embed(
                handle.address, given, len(given), kind, found, size
            )
            handle.check(status)
        return array("f", found)

    def top(self, count: int) -> list[Candidate]:
        """The most probable next tokens, best first. `ArgumentError` for an empty text."""
        count = min(unsigned(count, "count"), self.model.info.vocabulary)
        found, written = (layout.Candidate * count)(), c_size_t()
        with self._alone() as handle:
            status = library.kinglet_session_top(handle.address, found, count, byref(written))
            handle.check(status)
        return [candidate(entry) for entry in found[: written.value]]

    def logits(self) -> array[float]:
        """A copy of all logits behind the text. `ArgumentError` for an empty text."""
        found, count = ctypes.POINTER(ctypes.c_float)(), c_size_t()
        with self._alone() as handle:
            status = library.kinglet_session_logits(handle.address, byref(found), byref(count))
            handle.check(status)
            return array("f", ctypes.string_at(found, count.value * ctypes.sizeof(ctypes.c_float)))

    @property
    def tokens(self) -> list[int]:
        """The tokens of the text."""
        with self._alone() as handle:
            return calls.read_tokens(handle)[:]

    @property
    def info(self) -> SessionInfo:
        """What the session is, and how far its text is."""
        info = layout.sized(layout.SessionInfo())
        with self._alone() as handle:
            handle.check(library.kinglet_session_describe(handle.address, byref(info)))
        return SessionInfo(
            info.bytes,
            info.tokens,
            info.context,
            info.batch,
            info.threads,
            info.tier.decode(),
            info.texts,
            info.device_bytes,
        )

    def set_sampling(self, sampling: Optional[Sampling]) -> None:
        """Chooses tokens in this way from now on, from the start of the seed's random sequence."""
        given = (sampling or Sampling())._to_c()
        with self._alone() as handle:
            handle.check(library.kinglet_session_set_sampling(handle.address, byref(given)))

    def reset(self) -> None:
        """Forgets the whole text."""
        with self._alone() as handle:
            handle.check(library.kinglet_session_reset(handle.address))

    def rewind(self, count: int) -> None:
        """Keeps the first `count` tokens of the text. `ArgumentError` when there are fewer."""
        count = unsigned(count, "count")
        with self._alone() as handle:
            handle.check(library.kinglet_session_rewind(handle.address, count))

    def fork(self, source: Session, count: Optional[int] = None) -> None:
        """Replaces the text by the first `count` tokens of another session's, or by all of them,
        without computing them again.

        `ArgumentError` 409 when the sessions have different models or `kv`.
        """
        with self._alone() as handle, source._alone() as other:
            if count is None:
                count = len(calls.read_tokens(other))
            count = unsigned(count, "count")
            handle.check(library.kinglet_session_fork(handle.address, other.address, count))

    def save(self) -> bytes:
        """The text, its keys and values, and how many random numbers were drawn for it."""
        size = c_size_t()
        with self._alone() as handle:
            status = library.kinglet_session_state_bytes(handle.address, byref(size))
            handle.check(status)
            state = ctypes.create_string_buffer(size.value)
            status = library.kinglet_session_save(handle.address, state, len(state), byref(size))
            handle.check(status)
        return state.raw[: size.value]

    def restore(self, state: bytes) -> None:
        """Replaces the text by a saved one. With the sampling of the saved session, it goes on as
        that one would have.

        `ArgumentError` 409 for a state of another model, context or `kv`; `KingletError` 2xx for
        altered bytes. The text is unchanged then.
        """
        state = bytes(state)
        with self._alone() as handle:
            status = library.kinglet_session_restore(handle.address, c_char_p(state), len(state))
            handle.check(status)

    def cancel(self) -> None:
        """Ends what the session does before the next token or batch of a prompt; when it does
        nothing, its next reply or prompt ends at once. Can be called from any thread."""
        handle = self._use()
        library.kinglet_session_cancel(handle.address)

    def close(self) -> None:
        """Ends what the session does and gives its memory back. Closing twice is nothing."""
        self._handle = None
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "" if self._handle else ", closed"
        return f"Session({self.model!r}{state})"


def _given(value: Optional[int], what: str, bits: int = 32) -> int:
    """A number that the library takes 0 for when it is not given."""
    if value is None:
        return 0
    if value == 0:
        raise errors.error(errors.BAD_ARGUMENT, f"{what} is 0: leave it out for the default")
    return unsigned(value, what, bits)


def _named(numbers: dict[str, int], name: str, what: str) -> int:
    if name not in numbers:
        known = " or ".join(numbers)
        raise errors.error(errors.BAD_ARGUMENT, f"{what} is {name!r}: give {known}")
    return numbers[name]


def _choose_tier(model: Model, options: layout.SessionOptions, expected: tuple[int, int]) -> str:
    """Writes the faster tier into the options; the reason."""
    handle, reason = model._use(), errors.message_buffer()
    prompt, reply = (unsigned(count, "expected_tokens") for count in expected)
    status = library.kinglet_session_choose_tier(
        handle.address, byref(options), prompt, reply, reason, len(reason)
    )
    handle.check(status)
    return reason.value.decode(errors="replace")
