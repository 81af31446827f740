"""Structs, numbers and functions are those of the library's recorded interface.

`tests/c_header.rs` holds the record against what a C compiler says about `kinglet.h`.
"""

from __future__ import annotations

import ctypes
import re
import unittest

import kinglet
from kinglet import _errors, _layout, _library
from support import ROOT

# What the package does not use: memory of the caller's, files in memory, the log, copies of texts,
# single tokens, and the number of an interface that only grows. `generate_all` does what `generate`
# does.
UNUSED_FUNCTIONS = {
    "kinglet_abi_version",
    "kinglet_log_to",
    "kinglet_model_bytes",
    "kinglet_model_open_fd",
    "kinglet_model_open_memory",
    "kinglet_model_open_signed_fd",
    "kinglet_model_open_signed_memory",
    "kinglet_session_bytes",
    "kinglet_session_copy_text",
    "kinglet_session_generate",
    "kinglet_session_next",
}
# Those that return something other than a status.
TEXTS = {"kinglet_status_text", "kinglet_version"}
UNUSED_STRUCTS = {"kinglet_log_sink"}
UNUSED_CONSTANTS = {
    # It would bind the thread that makes a session, and with it all that this one starts.
    "KINGLET_SESSION_PIN_THREADS",
    "KINGLET_ALIGNMENT",
    "KINGLET_MAX_LOGIT_BIAS",
    "KINGLET_MAX_STOP",
    "KINGLET_MAX_TEXTS",
    "KINGLET_LOG_ERROR",
    "KINGLET_LOG_WARNING",
    "KINGLET_LOG_INFO",
    "KINGLET_LOG_DEBUG",
}


def record(kind: str) -> list[list[str]]:
    """The lines of one kind, without it."""
    lines = (ROOT / "tests/c/interface.txt").read_text().splitlines()
    return [line.split()[1:] for line in lines if line.startswith(f"{kind} ")]


def struct_of(name: str) -> type[ctypes.Structure]:
    words = name.replace("kinglet_", "").split("_")
    found: type[ctypes.Structure] = getattr(_layout, "".join(map(str.title, words)))
    return found


class Layout(unittest.TestCase):
    def test_structs_have_the_recorded_sizes(self) -> None:
        found = {name: int(size) for name, size in record("struct") if name not in UNUSED_STRUCTS}
        self.assertEqual(len(found), 14)
        for name, size in found.items():
            self.assertEqual(ctypes.sizeof(struct_of(name)), size, name)

    def test_fields_lie_where_the_record_says(self) -> None:
        wanted: dict[str, list[tuple[str, int, int]]] = {}
        for place, offset, size in record("field"):
            name, field = place.split(".")
            wanted.setdefault(name, []).append((field, int(offset), int(size)))
        for name in wanted.keys() - UNUSED_STRUCTS:
            struct = struct_of(name)
            names = [field[0] for field in struct._fields_]
            fields = [(field, getattr(struct, field)) for field in names]
            found = [(field, place.offset, place.size) for field, place in fields]
            self.assertEqual(found, wanted[name], name)

    def test_constants_are_the_recorded_ones(self) -> None:
        for name, value in record("constant"):
            if name not in UNUSED_CONSTANTS:
                self.assertEqual(getattr(_layout, name.replace("KINGLET_", "")), int(value), name)

    def test_every_function_is_used_or_left_out_on_purpose(self) -> None:
        names = {name for (name,) in record("function")}
        used = TEXTS | {f"kinglet_{name}" for name in _library._FUNCTIONS}
        self.assertEqual(used & UNUSED_FUNCTIONS, set())
        self.assertEqual(used | UNUSED_FUNCTIONS, names)

    def test_functions_have_the_parameters_of_the_header(self) -> None:
        header = (ROOT / "boards/c/include/kinglet.h").read_text()
        for name, arguments in _library._FUNCTIONS.items():
            found = re.search(rf"^kinglet_status kinglet_{name}\(([^)]*)\);", header, re.M)
            assert found is not None, name
            parameters = found[1].split(",")
            self.assertEqual(len(parameters), len(arguments), name)
            for parameter, argument in zip(parameters, arguments):
                self.assertEqual(ctypes.sizeof(argument), size_of(parameter), f"{name}:{parameter}")

    def test_statuses_have_their_classes(self) -> None:
        for name, value in record("status"):
            code = int(value)
            if code == _errors.OK:
                continue
            error = _errors.error(code)
            self.assertIsInstance(error, kinglet.KingletError, name)
            self.assertEqual(isinstance(error, kinglet.ArgumentError), code in ARGUMENTS, name)
            self.assertNotEqual(error.args[0], "", name)
        for name, number in vars(_errors).items():
            if isinstance(number, int) and name != "MESSAGE_BYTES":
                self.assertIn([f"KINGLET_STATUS_{name}", str(number)], record("status"))


ARGUMENTS = {401, 402, 404, 405, 406, 408, 409, 412}


def size_of(parameter: str) -> int:
    """Bytes of a parameter as the header spells it."""
    words = parameter.split()
    if "*" in parameter or words[0].startswith("kinglet_on_"):
        return ctypes.sizeof(ctypes.c_void_p)
    return {"size_t": ctypes.sizeof(ctypes.c_size_t), "uint32_t": 4}[words[0]]


if __name__ == "__main__":
    unittest.main()
