"""Models: weight files, their tokenizer and their chat template."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from ctypes import byref, c_size_t, c_uint32
from typing import Any, Callable, Iterable, NamedTuple, Optional, Protocol, Sequence, Union

from . import _errors as errors
from . import _layout as layout
from ._handles import ModelHandle
from ._library import library
from ._messages import Message, messages
from ._tools import table
from ._trust import Trust
from ._values import tokens, unsigned


class Closes(Protocol):
    """What a model closes when it is closed: its sessions."""

    def close(self) -> None: ...


class ModelInfo(NamedTuple):
    """What a model is."""

    file_bytes: int
    read_bytes_per_token: int
    """Bytes of weights that one generated token reads."""
    vocabulary: int
    """Tokens of the vocabulary: the length of logits."""
    max_context: int
    """Positions that the model was trained for: the largest context."""
    longest_token_bytes: int
    has_chat_template: bool
    fingerprint: bytes
    """SHA-256 over the file's header and the checksums in it: equal for equal files."""
    embedding_size: int
    """Numbers of an embedding."""


class Signature(NamedTuple):
    """Who vouches for a model, and for which version of it."""

    model_id: str
    version: int
    """A number that only grows: with it as `Trust.least_version` no older file is accepted."""
    key_id: str
    """The number of the key that has signed, as minisign writes it."""


class TokenInfo(NamedTuple):
    """What a token of the vocabulary is."""

    text: bytes
    """The bytes that it stands for, which are not always whole characters."""
    is_end: bool
    """Whether it ends a reply."""
    is_control: bool
    """Whether it is a control token, which is not part of a reply's text."""


class Model:
    """A weight file, mapped into memory and only read.

    `path` names a file that `kinglet convert` or `kinglet pull` has made. It must be neither
    modified nor shortened while it is open: to replace it, write another one and rename it. Raises
    `NotFoundError`, and `KingletError` for files that are damaged or not Kinglet's (2xx).

    With `trust` the file must be signed, and is checked before anything of it is parsed; all of it
    is read for that. `KingletError` 206 for a file without a signature, 207 for a wrong one, and
    208 for an older version or another model.

    All methods can be called from several threads at once. Closing a model closes its sessions;
    what runs on another thread ends first, and the memory goes with the last call that uses it.
    """

    def __init__(
        self, path: Union[str, os.PathLike[str]], *, trust: Optional[Trust] = None
    ) -> None:
        name = os.fsencode(path)
        if b"\0" in name:
            raise errors.error(errors.BAD_ARGUMENT, "the path has a zero character")
        trusted = None if trust is None else trust.to_layout()
        self._handle: Optional[ModelHandle] = ModelHandle(name, trusted)
        self._path = os.fspath(path)
        self._sessions: weakref.WeakSet[Closes] = weakref.WeakSet()
        # Whoever opens a session or closes the model.
        self._lock = threading.RLock()
        self.info: ModelInfo = self._describe()
        """What the model is."""
        self.signature: Optional[Signature] = None if trust is None else self._signature()
        """What it was signed as, if it was opened with `trust`."""

    def _signature(self) -> Signature:
        handle, info = self._use(), layout.sized(layout.SignatureInfo())
        handle.check(library.kinglet_model_describe_signature(handle.address, byref(info)))
        return Signature(info.model_id.decode(), info.version, f"{info.key_id:016X}")

    def _use(self) -> ModelHandle:
        """The handle, kept by whoever calls the library with it."""
        handle = self._handle
        if handle is None:
            raise errors.error(errors.BAD_HANDLE, "the model was closed")
        return handle

    def _describe(self) -> ModelInfo:
        handle, info = self._use(), layout.sized(layout.ModelInfo())
        handle.check(library.kinglet_model_describe(handle.address, byref(info)))
        return ModelInfo(
            info.file_bytes,
            info.read_bytes_per_token,
            info.vocabulary,
            info.max_context,
            info.longest_token_bytes,
            bool(info.has_chat_template),
            bytes(info.fingerprint),
            info.embedding_size,
        )

    def verify(self) -> None:
        """Compares the checksums of the whole file, which reads all of it.

        Raises `KingletError` 204 when one is wrong.
        """
        handle = self._use()
        handle.check(library.kinglet_model_verify(handle.address))

    def encode(self, text: str, *, control: bool = False) -> list[int]:
        """The tokens of a text.

        With `control`, texts of control tokens such as `<|im_end|>` become the token: for texts
        that you trust.
        """
        handle, given = self._use(), text.encode()
        flags = layout.TOKENIZE_CONTROL if control else 0
        # As many are always enough for valid UTF-8.
        found, count = (c_uint32 * len(given))(), c_size_t()
        status = library.kinglet_tokenize(
            handle.address, given, len(given), flags, found, len(found), byref(count)
        )
        handle.check(status)
        return found[: count.value]

    def decode_bytes(self, numbers: Iterable[int], *, skip_control: bool = False) -> bytes:
        """The bytes that tokens stand for, which are not always whole characters."""
        handle, given = self._use(), tokens(numbers)
        flags = layout.DETOKENIZE_SKIP_CONTROL if skip_control else 0

        def write(buffer: Any, size: int, count: Any) -> int:
            detokenize = library.kinglet_detokenize
            return int(detokenize(handle.address, given, len(given), flags, buffer, size, count))

        return bytes(_grown(handle, ctypes.c_char, 8 * len(given), write).raw)

    def decode(self, numbers: Iterable[int], *, skip_control: bool = False) -> str:
        """The text of tokens, with U+FFFD for what is not UTF-8."""
        return self.decode_bytes(numbers, skip_control=skip_control).decode(errors="replace")

    def token(self, number: int) -> TokenInfo:
        """What a token is. `ArgumentError` 406 when there is no such token."""
        handle, number = self._use(), unsigned(number, "a token")
        start, size, kind = ctypes.c_void_p(), c_size_t(), c_uint32()
        status = library.kinglet_token_text(
            handle.address, number, byref(start), byref(size), byref(kind)
        )
        handle.check(status)
        text = ctypes.string_at(start, size.value) if size.value else b""
        return TokenInfo(
            text, bool(kind.value & layout.TOKEN_END), bool(kind.value & layout.TOKEN_CONTROL)
        )

    def chat_tokens(
        self,
        conversation: Sequence[Message],
        *,
        reply_next: bool = True,
        tools: Optional[bytes] = None,
    ) -> list[int]:
        """The tokens of a conversation, by the model's own template.

        Safe for messages from anywhere: control tokens that are spelled out in a message are split
        like any text. With `reply_next` they end with the beginning of the assistant's reply.

        `tools` is a table of functions that the model can call (`kinglet compile-schema --tools`),
        which the system message then tells of. A reply that is generated with `schema=tools` is
        words or calls, see `read_calls`; it becomes a message as it is, and what a function
        returned one of the role `tool`.
        """
        handle, turns = self._use(), messages(conversation)
        flags = layout.CHAT_REPLY_NEXT if reply_next else 0
        size = sum(len(turn.content) for turn in turns)
        functions = None if tools is None else table(tools)

        def write(buffer: Any, size: int, count: Any) -> int:
            given = (turns, len(turns), flags, buffer, size, count)
            if functions is None:
                return int(library.kinglet_chat_tokens(handle.address, *given))
            tools_tokens = library.kinglet_tools_tokens
            return int(tools_tokens(handle.address, functions, len(functions), *given))

        size += 0 if functions is None else len(functions)
        return list(_grown(handle, c_uint32, 256 + 2 * size, write))

    def chat_text(self, conversation: Sequence[Message], *, reply_next: bool = True) -> str:
        """The text of a conversation, by the model's own template: for eyes."""
        handle, turns = self._use(), messages(conversation)
        flags = layout.CHAT_REPLY_NEXT if reply_next else 0

        def write(buffer: Any, size: int, count: Any) -> int:
            chat_render = library.kinglet_chat_render
            return int(chat_render(handle.address, turns, len(turns), flags, buffer, size, count))

        return str(_grown(handle, ctypes.c_char, 4096, write).raw.decode())

    def close(self) -> None:
        """Closes the model and its sessions. Closing twice is nothing."""
        with self._lock:
            self._handle = None
            sessions = list(self._sessions)
        for session in sessions:
            session.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "" if self._handle else ", closed"
        return f"Model({self._path!r}{state})"


def _grown(handle: ModelHandle, kind: Any, size: int, write: Callable[[Any, int, Any], int]) -> Any:
    """What `write` puts into an array of this type, which gets as large as it asks for."""
    count = c_size_t()
    while True:
        buffer = (kind * size)()
        status = write(buffer, size, byref(count))
        if status != errors.BUFFER_TOO_SMALL or count.value <= size:
            handle.check(status)
            return (kind * count.value).from_buffer_copy(buffer)
        size = count.value
