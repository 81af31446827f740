"""Models: files, tokens, conversations."""

from __future__ import annotations

import pickle
import tempfile
import unittest
from pathlib import Path

import kinglet
from support import MODEL, PROMPT, ROOT, SIGNED, USER, Case


class Files(Case):
    def test_a_model_tells_what_it_is(self) -> None:
        info = self.model.info
        self.assertEqual((info.vocabulary, info.max_context, info.embedding_size), (640, 512, 96))
        self.assertEqual(info.file_bytes, Path(MODEL).stat().st_size)
        self.assertEqual(len(info.fingerprint), 32)
        self.assertTrue(info.has_chat_template)
        self.model.verify()

    def test_a_missing_file_is_said_in_words(self) -> None:
        said = self.assert_code(101, FileNotFoundError, kinglet.Model, "no/such.kinglet")
        self.assertIn("no/such.kinglet", said)

    def test_a_wrong_file_is_refused(self) -> None:
        self.assert_code(201, kinglet.KingletError, kinglet.Model, Path(__file__))

    def test_a_damaged_file_is_found(self) -> None:
        content = bytearray(Path(MODEL).read_bytes())
        content[-1] ^= 1
        with tempfile.NamedTemporaryFile(suffix=".kinglet") as file:
            file.write(content)
            file.flush()
            with kinglet.Model(file.name) as model:
                self.assert_code(204, kinglet.KingletError, model.verify)

    def test_a_path_is_not_cut(self) -> None:
        self.assert_code(404, ValueError, kinglet.Model, MODEL + "\0.other")

    def test_exceptions_can_be_sent_to_other_processes(self) -> None:
        for code in (101, 404, 410, 601):
            error = kinglet._errors.error(code, "what was found")
            copy = pickle.loads(pickle.dumps(error))
            self.assertEqual((type(copy), copy.code, str(copy)), (type(error), code, str(error)))


class Signed(Case):
    KEY = (ROOT / "tests/keys/fleet.pub").read_text()

    def refused(self, code: int, path: str, trust: kinglet.Trust) -> None:
        with self.assertRaises(kinglet.KingletError) as caught:
            kinglet.Model(path, trust=trust)
        self.assertEqual(caught.exception.code, code)

    def test_signed_models_are_opened(self) -> None:
        for key in (self.KEY, self.KEY.splitlines()[1]):
            trust = kinglet.Trust(key, model_id="bird", least_version=7)
            with kinglet.Model(SIGNED, trust=trust) as model:
                wanted = kinglet.Signature("bird", 7, "ECF451784A7C464C")
                self.assertEqual(model.signature, wanted)
                self.assertEqual(model.info, self.model.info)
        self.assertIsNone(self.model.signature)

    def test_all_others_are_refused(self) -> None:
        self.refused(206, MODEL, kinglet.Trust(self.KEY))
        other = (ROOT / "tests/keys/other.pub").read_text()
        self.refused(207, SIGNED, kinglet.Trust(other))
        self.refused(208, SIGNED, kinglet.Trust(self.KEY, least_version=8))
        self.refused(208, SIGNED, kinglet.Trust(self.KEY, model_id="bat"))
        self.refused(404, SIGNED, kinglet.Trust("no key"))
        self.refused(404, SIGNED, kinglet.Trust(self.KEY + "\0"))
        self.refused(404, SIGNED, kinglet.Trust(self.KEY, least_version=-1))
        self.refused(404, SIGNED, kinglet.Trust(self.KEY, least_version=1 << 64))

    def test_weights_are_checked_unless_told_otherwise(self) -> None:
        content = bytearray(Path(SIGNED).read_bytes())
        content[-1] ^= 1
        with tempfile.NamedTemporaryFile(suffix=".kinglet") as file:
            file.write(content)
            file.flush()
            self.refused(204, file.name, kinglet.Trust(self.KEY))
            kinglet.Model(file.name, trust=kinglet.Trust(self.KEY, skip_weights=True)).close()


class Tokens(Case):
    def test_texts_come_back(self) -> None:
        for text in ("", PROMPT, "Grüße, 世界 🐦", "a\0b", "<|im_end|>"):
            tokens = self.model.encode(text)
            self.assertEqual(self.model.decode(tokens), text)
            self.assertEqual(b"".join(self.model.token(t).text for t in tokens), text.encode())

    def test_control_tokens_are_found_only_when_asked_for(self) -> None:
        (end,) = self.model.encode("<|im_end|>", control=True)
        self.assertGreater(len(self.model.encode("<|im_end|>")), 1)
        info = self.model.token(end)
        self.assertEqual((info.text, info.is_end, info.is_control), (b"<|im_end|>", True, True))
        self.assertEqual(self.model.decode([end], skip_control=True), "")

    def test_half_a_character_is_bytes(self) -> None:
        half = self.model.encode("🐦")[:1]
        self.assertEqual(self.model.decode(half), "\ufffd")
        self.assertTrue("🐦".encode().startswith(self.model.decode_bytes(half)))

    def test_numbers_are_never_cut(self) -> None:
        for token in (640, 1 << 31):
            self.assert_code(406, ValueError, self.model.decode, [token])
        for token in (-1, 1 << 32, (1 << 32) + 5):
            self.assert_code(406, ValueError, self.model.decode, [token])
            self.assert_code(404, ValueError, self.model.token, token)
        for wrong in ("text", b"\0\0\0\0", [1.5], [None]):
            with self.assertRaises(TypeError):
                self.model.decode(wrong)  # type: ignore[arg-type]

    def test_long_texts_get_the_room_that_they_need(self) -> None:
        text = PROMPT * 2000
        self.assertEqual(self.model.decode(self.model.encode(text)), text)


class Conversations(Case):
    def test_tokens_are_those_of_the_text(self) -> None:
        turns = [{"role": "system", "content": "Be brief."}, USER] * 40
        for reply_next in (True, False):
            text = self.model.chat_text(turns, reply_next=reply_next)
            tokens = self.model.chat_tokens(turns, reply_next=reply_next)
            self.assertEqual(tokens, self.model.encode(text, control=True))
            self.assertEqual(text.endswith("<|im_start|>assistant\n"), reply_next)

    def test_nobody_can_type_control_tokens(self) -> None:
        (end,) = self.model.encode("<|im_end|>", control=True)
        typed = [{"role": "user", "content": "<|im_end|>"}]
        plain = [{"role": "user", "content": "hello"}]
        count = self.model.chat_tokens(plain).count(end)
        self.assertEqual(self.model.chat_tokens(typed).count(end), count)

    def test_what_would_be_left_out_is_refused(self) -> None:
        for turn in ({"role": "user"}, {**USER, "tools": "x"}, {**USER, "content": "a\0b"}):
            self.assert_code(404, ValueError, self.model.chat_tokens, [turn])
        self.assert_code(404, ValueError, self.model.chat_tokens, [{**USER, "role": "parrot"}])
        for wrong in (USER, "Hello", [{"role": "user", "content": ["parts"]}]):
            with self.assertRaises(TypeError):
                self.model.chat_tokens(wrong)  # type: ignore[arg-type]


if __name__ == "__main__":
    unittest.main()
