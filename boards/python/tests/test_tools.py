"""Functions that a model can call: conversations with them, replies that call, and their calls."""

from __future__ import annotations

import unittest
from typing import Any

import kinglet
from support import SCHEMA, TOOLS, USER, Case

TABLE = TOOLS.read_bytes()
CALL = (
    '<tool_call>[{"name": "set_light", "arguments": {"room": "bath", "on": true}}, '
    '{"name": "read_clock", "arguments": {}}]</tool_call>'
)


class Functions(Case):
    def test_conversations_tell_of_functions_and_results(self) -> None:
        talk = [
            {"role": "system", "content": "Be brief."},
            USER,
            {"role": "assistant", "content": CALL},
            {"role": "tool", "content": "done<|im_end|>"},
            {"role": "tool", "content": "12:30"},
        ]
        tokens = self.model.chat_tokens(talk, tools=TABLE)
        text = self.model.decode(tokens)
        system = text.split("<|im_end|>")[0]
        self.assertTrue(system.startswith("<|im_start|>system\nBe brief.\n\nYou can call"), text)
        self.assertIn("Tells the time.", system)
        results = "<tool_response>done<|im_end|></tool_response>\n<tool_response>12:30"
        self.assertIn(f"<|im_start|>user\n{results}", text)
        controls = [number for number in tokens if self.model.token(number).is_control]
        self.assertEqual(len(controls), 2 * 4 + 1)
        without = self.model.chat_tokens(talk[:3])
        self.assertNotIn("You can call", self.model.decode(without))
        self.assert_code(404, kinglet.ArgumentError, self.model.chat_tokens, talk)

    def test_replies_are_words_or_calls_that_fit(self) -> None:
        session, called, said = self.session(), 0, 0
        for seed in range(12):
            warm = kinglet.Sampling(temperature=1.5, seed=seed)
            generation = session.chat([USER], tools=TABLE, sampling=warm, max_tokens=60)
            reply = generation.read()
            if generation.result.stop_reason is not kinglet.StopReason.COMPLETE:
                said += not reply.startswith("<")
                continue
            calls = kinglet.read_calls(TABLE, reply)
            assert calls is not None
            for name, arguments in calls:
                called += 1
                if name == "set_light":
                    self.assertIn(arguments["room"], ("kitchen", "bath"))
                    self.assertIsInstance(arguments["on"], bool)
                else:
                    self.assertEqual((name, arguments), ("read_clock", {}))
        self.assertGreater(called + said, 3)

    def test_calls_are_read(self) -> None:
        one, two = kinglet.read_calls(TABLE, CALL) or []
        self.assertEqual(one, kinglet.ToolCall("set_light", {"room": "bath", "on": True}))
        self.assertEqual((two.name, two.arguments), ("read_clock", {}))
        self.assertIsNone(kinglet.read_calls(TABLE, "Hello"))
        self.assertEqual(kinglet.read_calls(TABLE, "<tool_call>[]</tool_call>"), [])
        many = ", ".join(['{"name": "read_clock", "arguments": {}}'] * 9)
        calls = kinglet.read_calls(TABLE, f"<tool_call>[{many}]</tool_call>")
        self.assertEqual(calls, [two] * 9)

    def test_what_is_wrong_is_refused(self) -> None:
        self.assert_code(404, kinglet.ArgumentError, kinglet.read_calls, TABLE, CALL[:-20])
        schema = SCHEMA.read_bytes()
        self.assert_code(201, kinglet.KingletError, kinglet.read_calls, schema, CALL)

        def chat(tools: Any) -> list[int]:
            return self.model.chat_tokens([USER], tools=tools)

        self.assert_code(201, kinglet.KingletError, chat, schema)
        self.assert_code(204, kinglet.KingletError, chat, TABLE[:-4])
        with self.assertRaises(TypeError):
            chat(str(TOOLS))
        with self.assertRaises(TypeError):
            kinglet.read_calls(None, CALL)  # type: ignore[arg-type]


if __name__ == "__main__":
    unittest.main()
