"""What the library hands out, kept until the last reference to it is gone.

Whoever calls the library holds such a reference during the call, so that closing on another thread
never frees what a call uses.
"""

from __future__ import annotations

import os
from ctypes import byref, c_void_p
from typing import Optional

from . import _errors as errors
from . import _layout as layout
from ._library import library


class ModelHandle:
    """A model of the library."""

    def __init__(self, path: bytes, trust: Optional[layout.Trust]) -> None:
        self.address: Optional[int] = None
        # Also when modules are torn down at the end.
        self._close = library.kinglet_model_close
        self._is_abandoned = False
        place, message = c_void_p(), errors.message_buffer()
        rest = (None, 0, byref(place), message, len(message))
        if trust is None:
            status = library.kinglet_model_open_path(path, *rest)
        else:
            status = library.kinglet_model_open_signed_path(path, byref(trust), *rest)
        errors.check(status, lambda: message.value)
        self.address = place.value

    def check(self, status: int) -> None:
        """Raises what a function of the model returned.

        Where two threads fail at the same moment, the sentence may be the other one's.
        """
        errors.check(status, self._sentence)

    def _sentence(self) -> bytes:
        buffer = errors.message_buffer()
        library.kinglet_model_message(self.address, buffer, len(buffer))
        return buffer.value

    def __del__(self) -> None:
        # Garbage in a cycle comes in any order: while there are sessions the library refuses, and
        # the last of them tries once more.
        self._is_abandoned = True
        self.close_abandoned()

    def close_abandoned(self) -> None:
        """Closes the model if only its sessions kept it."""
        if self._is_abandoned and self.address and self._close(self.address) == errors.OK:
            self.address = None


class SessionHandle:
    """A session of the library."""

    def __init__(self, model: ModelHandle, options: layout.SessionOptions) -> None:
        self.address: Optional[int] = None
        self.model = model
        self._destroy = library.kinglet_session_destroy
        self._process, self._own_process = os.getpid(), os.getpid
        place, message = c_void_p(), errors.message_buffer()
        status = library.kinglet_session_new(
            model.address, byref(options), None, 0, byref(place), message, len(message)
        )
        errors.check(status, lambda: message.value)
        self.address = place.value

    def is_of_this_process(self) -> bool:
        """Whether the session's threads are here: a fork has none of them."""
        return self._process == self._own_process()

    def check(self, status: int) -> None:
        """Raises what a function of the session returned."""
        errors.check(status, self._sentence)

    def _sentence(self) -> bytes:
        buffer = errors.message_buffer()
        library.kinglet_session_message(self.address, buffer, len(buffer))
        return buffer.value

    def __del__(self) -> None:
        # In a fork this would wait for threads that are not there.
        if self.address and self.is_of_this_process():
            self._destroy(self.address)
            self.address = None
            self.model.close_abandoned()
