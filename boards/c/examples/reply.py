#!/usr/bin/env python3
"""Streams a model's reply to one message, through ctypes alone:

    ./reply.py smollm2-135m-instruct.kinglet "What is a kinglet?"

KINGLET_LIBRARY names the shared library when the system does not find it.
"""

import codecs
import ctypes
import os
import sys
from ctypes import POINTER, byref, c_char_p, c_int32, c_size_t, c_uint32, c_void_p

BUFFER_TOO_SMALL = 408
CHAT_REPLY_NEXT = 1
TOKENIZE_CONTROL = 1

kinglet = ctypes.CDLL(os.environ.get("KINGLET_LIBRARY", "libkinglet.so.1"))
kinglet.kinglet_status_text.restype = c_char_p
OnPiece = ctypes.CFUNCTYPE(c_int32, c_void_p, c_uint32, POINTER(ctypes.c_char), c_size_t)


class Message(ctypes.Structure):
    _fields_ = [("role", c_char_p), ("content", c_char_p)]


class GenerateOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("max_tokens", c_uint32),
        ("flags", c_uint32),
        ("stop", POINTER(c_char_p)),
        ("stop_count", c_size_t),
    ]


def check(status, message=b""):
    if status != 0:
        text = kinglet.kinglet_status_text(status).decode()
        sys.exit(f"{text}: {message.decode()} (error {status})")


def render(model, content):
    messages, size = (Message * 1)(Message(b"user", content.encode())), c_size_t()
    arguments = [model, messages, c_size_t(1), c_uint32(CHAT_REPLY_NEXT)]
    status = kinglet.kinglet_chat_render(*arguments, None, c_size_t(0), byref(size))
    if status != BUFFER_TOO_SMALL:
        check(status)
    text = ctypes.create_string_buffer(size.value)
    check(kinglet.kinglet_chat_render(*arguments, text, size, byref(size)))
    return text.raw


def tokenize(model, text):
    tokens, count = (c_uint32 * len(text))(), c_size_t()
    flags, size = c_uint32(TOKENIZE_CONTROL), c_size_t(len(text))
    check(kinglet.kinglet_tokenize(model, text, size, flags, tokens, size, byref(count)))
    return tokens, count


def main(path, content):
    model, session = c_void_p(), c_void_p()
    message = ctypes.create_string_buffer(320)
    room = c_size_t(len(message))
    status = kinglet.kinglet_model_open_path(
        os.fsencode(path), None, c_size_t(0), byref(model), message, room
    )
    check(status, message.value)
    status = kinglet.kinglet_session_new(
        model, None, None, c_size_t(0), byref(session), message, room
    )
    check(status, message.value)
    tokens, count = tokenize(model, render(model, content))
    check(kinglet.kinglet_session_prefill(session, tokens, count))

    decoder = codecs.getincrementaldecoder("utf-8")()

    @OnPiece
    def on_piece(_user, _token, text, size):
        print(decoder.decode(text[:size]), end="", flush=True)
        return 0

    options = GenerateOptions(ctypes.sizeof(GenerateOptions), 128, 0, None, 0)
    check(kinglet.kinglet_session_generate(session, byref(options), on_piece, None, None))
    print()
    check(kinglet.kinglet_session_destroy(session))
    check(kinglet.kinglet_model_close(model))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
