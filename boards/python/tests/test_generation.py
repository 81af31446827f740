"""Replies: what they are, what ends them, and what is told about them."""

from __future__ import annotations

import json
import math
import time
import unittest
from typing import Any, Iterable, Optional
from unittest import mock

import kinglet
import kinglet._call
import kinglet._layout
from kinglet import Sampling, StopReason
from support import PROMPT, SCHEMA, USER, Case


class Pieces(Case):
    def test_pieces_are_the_text_of_the_tokens(self) -> None:
        session = self.session()
        reply = session.generate(PROMPT, max_tokens=100, ignore_end=True)
        pieces = list(reply)
        tokens = [piece.token for piece in pieces if piece.token is not None]
        self.assertEqual(len(tokens), 100)
        self.assertEqual(session.tokens, self.model.encode(PROMPT) + tokens)
        text = self.model.decode(tokens, skip_control=True)
        self.assertEqual("".join(piece.text for piece in pieces), text)
        self.assertEqual(reply.result.stop_reason, StopReason.MAX_TOKENS)
        self.assertEqual(reply.result.tokens, 100)
        self.assertEqual(list(reply), [])

    def test_each_token_is_the_most_probable_one(self) -> None:
        session, other = self.session(), self.session()
        other.prefill(PROMPT)
        for piece in session.generate(PROMPT, max_tokens=12, ignore_end=True):
            logits = other.logits()
            self.assertEqual(len(logits), self.model.info.vocabulary)
            self.assertEqual(logits[piece.token or 0], max(logits))
            self.assertEqual(other.top(1)[0].token, piece.token)
            other.prefill([piece.token or 0])

    def test_a_reply_that_is_left_ends_where_it_was_left(self) -> None:
        session = self.session()
        tokens = self.model.encode(PROMPT)
        for piece in session.generate(PROMPT, ignore_end=True):
            tokens.append(piece.token or 0)
            if len(tokens) == 20:
                break
        self.assertEqual(session.tokens, tokens)
        with session.generate(ignore_end=True) as reply:
            tokens.append(next(reply).token or 0)
        self.assertEqual(reply.result.stop_reason, StopReason.LEFT)
        self.assertEqual(session.tokens, tokens)
        whole = self.session()
        text = whole.generate(PROMPT, max_tokens=len(tokens) + 4, ignore_end=True).read()
        rest = session.generate(max_tokens=len(whole.tokens) - len(tokens), ignore_end=True)
        self.assertTrue(text.endswith(rest.read()))
        self.assertEqual(session.tokens, whole.tokens)

    def test_a_reply_can_be_left_within_a_character(self) -> None:
        # Half a character, and a token that makes two pieces of it.
        tokens = [self.model.encode("🐦")[0], *self.model.encode("x")]
        self.assertEqual(len(tokens), 2)
        for count, texts in ((1, [""]), (2, ["", "\ufffd"]), (3, ["", "\ufffd", "x"])):
            session = self.session()
            with session.generate(PROMPT, constraint=Word(tokens)) as reply:
                self.assertEqual([next(reply).text for _ in range(count)], texts)
            self.assertEqual(session.tokens[-min(count, 2) :], tokens[:count])
            self.assertEqual(reply.result.stop_reason, StopReason.LEFT)

    def test_nothing_happens_before_the_first_piece(self) -> None:
        session = self.session()
        reply = session.generate(PROMPT, max_tokens=4)
        self.assertEqual(session.tokens, [])
        self.assert_code(407, kinglet.BusyError, lambda: reply.result)
        reply.close()
        self.assertEqual(list(reply), [])
        self.assertEqual(session.tokens, [])

    def test_a_session_is_in_use_until_the_reply_ends(self) -> None:
        session = self.session()
        reply = session.generate(PROMPT)
        next(reply)
        for work in (session.reset, session.save, session.generate().read, session.logits):
            self.assert_code(407, RuntimeError, work)
        waiting = session.generate(max_tokens=2, ignore_end=True)
        self.assert_code(407, RuntimeError, waiting.read)
        reply.close()
        waiting.read()
        self.assertEqual(waiting.result.tokens, 2)


class Ends(Case):
    def test_stop_strings_are_no_part_of_the_reply(self) -> None:
        whole = self.session().generate(PROMPT, max_tokens=60, ignore_end=True).read()
        stop = whole[20:23]
        reply = self.session().generate(PROMPT, max_tokens=60, ignore_end=True, stop=["§", stop])
        self.assertEqual(reply.read(), whole[: whole.index(stop)])
        self.assertEqual(reply.result.stop_reason, StopReason.STOP_STRING)

    def test_wrong_stop_strings_are_refused(self) -> None:
        session = self.session()
        for wrong in ([""], ["x" * 65], ["x"] * 9):
            self.assert_code(404, ValueError, session.generate(PROMPT, stop=wrong).read)
        self.assert_code(404, ValueError, lambda: session.generate(PROMPT, stop=["a\0b"]))
        with self.assertRaises(TypeError):
            session.generate(PROMPT, stop="abc")

    def test_a_full_context_ends_a_reply_or_slides(self) -> None:
        session = self.session(context=64)
        reply = session.generate(PROMPT, max_tokens=0, ignore_end=True)
        reply.read()
        self.assertEqual(reply.result.stop_reason, StopReason.CONTEXT_FULL)
        self.assertEqual(len(session.tokens), session.info.context)
        session.reset()
        reply = session.generate(PROMPT, max_tokens=100, ignore_end=True, slide=True)
        reply.read()
        self.assertEqual(reply.result.tokens, 100)
        self.assertGreater(reply.result.slides, 0)

    def test_a_prompt_that_does_not_fit_is_refused(self) -> None:
        session = self.session(context=64)
        said = self.assert_code(401, ValueError, session.generate([5] * 65).read)
        self.assertIn("65 tokens", said)
        self.assertEqual(session.tokens, [])
        self.assert_code(404, ValueError, session.generate("").read)
        self.assert_code(404, ValueError, session.generate().read)
        self.assert_code(406, ValueError, session.generate([640]).read)

    def test_deadlines_end_replies(self) -> None:
        session = self.session()
        session.prefill(PROMPT)
        reply = session.generate(constraint=Waits(), deadline_seconds=0.01, max_tokens=0)
        reply.read()
        self.assertEqual(reply.result.stop_reason, StopReason.DEADLINE)
        # The next call has all the time that it needs.
        reply = session.generate(max_tokens=3, ignore_end=True)
        reply.read()
        self.assertEqual(reply.result.stop_reason, StopReason.MAX_TOKENS)
        for wrong in (0, -1, math.nan, math.inf, 1e9):
            self.assert_code(404, ValueError, lambda: session.generate(deadline_seconds=wrong))

    def test_deadlines_end_prompts(self) -> None:
        session = self.session(batch=1)

        def sleep(*_: object) -> int:
            time.sleep(0.02)
            return 0

        def wait(function: Any = None) -> Any:
            return OnProgress(sleep) if function else OnProgress()

        OnProgress = kinglet._layout.OnProgress
        with mock.patch("kinglet._layout.OnProgress", wait):
            work = session.generate(PROMPT, deadline_seconds=0.01).read
            self.assert_code(410, TimeoutError, work)
            self.assertLess(len(session.tokens), len(self.model.encode(PROMPT)))
            # It holds for one call alone.
            session.reset()
            session.prefill(PROMPT)
        self.assertEqual(session.tokens, self.model.encode(PROMPT))

    def test_cancelling_ends_a_reply(self) -> None:
        session = self.session()
        reply = session.generate(PROMPT, ignore_end=True)
        next(reply)
        session.cancel()
        reply.read()
        self.assertEqual(reply.result.stop_reason, StopReason.CANCELLED)
        session.cancel()
        self.assert_code(108, kinglet.CancelledError, session.prefill, PROMPT)
        session.prefill(PROMPT)


class Waits(kinglet.Constraint):
    """Allows every token that does not end the reply, and meets a deadline of 10 ms never."""

    def filter(self, tokens: list[int]) -> Iterable[int]:
        return [token for token in tokens if token > 20]

    def advance(self, token: int) -> None:
        time.sleep(0.02)


class Choices(Case):
    def read(self, sampling: Sampling) -> str:
        reply = self.session().generate(PROMPT, max_tokens=40, sampling=sampling, ignore_end=True)
        return reply.read()

    def test_seeds_decide(self) -> None:
        texts = [self.read(Sampling(temperature=2.0, seed=seed)) for seed in (1, 2, 1 << 63, 1)]
        self.assertEqual(texts[0], texts[3])
        self.assertEqual(len(set(texts)), 3)

    def test_every_option_reaches_the_library(self) -> None:
        greedy = self.read(Sampling())
        hot = self.read(Sampling(temperature=3.0))
        self.assertEqual(self.read(Sampling(temperature=3.0, top_k=1)), greedy)
        self.assertEqual(self.read(Sampling(temperature=3.0, top_p=1e-6)), greedy)
        self.assertEqual(self.read(Sampling(temperature=3.0, min_p=1.0)), greedy)
        self.assertNotEqual(hot, greedy)

    def test_every_penalty_reaches_the_library(self) -> None:
        def tokens(**penalties: Any) -> list[Optional[int]]:
            sampling = Sampling(logit_bias={77: 50.0}, **penalties)
            prompt = [77, *self.model.encode(PROMPT)]
            reply = self.session().generate(
                prompt, max_tokens=3, sampling=sampling, ignore_end=True
            )
            return [piece.token for piece in reply if piece.token is not None]

        # Nothing else than 77 comes, unless something makes it improbable.
        self.assertEqual(tokens(), [77] * 3)
        for name in ("presence_penalty", "frequency_penalty"):
            self.assertEqual(
                [token == 77 for token in tokens(**{name: 100.0})], [True, False, False]
            )
            found = tokens(**{name: 100.0}, penalizes_prompt=True)
            self.assertNotIn(77, found)
        # This one looks at the prompt, too, as far as its window reaches.
        self.assertNotIn(77, tokens(repetition_penalty=1e6))
        found = tokens(repetition_penalty=1e6, repetition_window=1)
        self.assertEqual([token == 77 for token in found], [True, False, True])

    def test_wrong_options_are_refused(self) -> None:
        session = self.session()
        for wrong in (
            Sampling(temperature=-1.0),
            Sampling(temperature=math.nan),
            Sampling(top_p=2.0),
            Sampling(logit_bias={640: 1.0}),
            Sampling(logit_bias={token: 1.0 for token in range(65)}),
            Sampling(top_k=1 << 32),
            Sampling(seed=-1),
        ):
            with self.assertRaises(ValueError, msg=str(wrong)):
                session.set_sampling(wrong)

    def test_a_sampling_stays_and_goes_on(self) -> None:
        sampling = Sampling(temperature=2.0, seed=7)
        whole = self.session().generate(PROMPT, max_tokens=20, sampling=sampling, ignore_end=True)
        session = self.session()
        session.set_sampling(sampling)
        parts = [
            session.generate(PROMPT, max_tokens=9, ignore_end=True).read(),
            session.generate(max_tokens=11, ignore_end=True).read(),
        ]
        self.assertEqual("".join(parts), whole.read())


class Chances(Case):
    def test_probabilities_are_those_of_all_logits(self) -> None:
        session, other = self.session(), self.session()
        other.prefill(PROMPT)
        for piece in session.generate(PROMPT, max_tokens=8, logprobs=3, ignore_end=True):
            logits = other.logits()
            highest = max(logits)
            total = highest + math.log(sum(math.exp(logit - highest) for logit in logits))
            assert piece.token is not None and piece.logprob is not None
            self.assertAlmostEqual(piece.logprob, logits[piece.token] - total, delta=1e-4)
            best = sorted(range(len(logits)), key=lambda token: -logits[token])[:3]
            self.assertEqual([found.token for found in piece.top], best)
            for token, logprob in piece.top:
                self.assertAlmostEqual(logprob, logits[token] - total, delta=1e-4)
            other.prefill([piece.token])

    def test_they_are_told_only_when_asked_for(self) -> None:
        session = self.session()
        (plain,) = session.generate(PROMPT, max_tokens=1, ignore_end=True)
        self.assertEqual((plain.logprob, plain.top), (None, ()))
        (alone,) = session.generate(max_tokens=1, logprobs=0, ignore_end=True)
        self.assertIsNotNone(alone.logprob)
        self.assertEqual(alone.top, ())
        (every,) = session.generate(max_tokens=1, logprobs=640, ignore_end=True)
        self.assertEqual(sorted(found.token for found in every.top), list(range(640)))
        self.assertAlmostEqual(sum(math.exp(p) for _, p in every.top), 1.0, delta=1e-4)
        for wrong in (-1, 641, 1 << 32):
            self.assert_code(404, ValueError, lambda: session.generate(logprobs=wrong))


class Shapes(Case):
    def test_a_schema_shapes_the_reply(self) -> None:
        table = SCHEMA.read_bytes()
        for seed in range(8):
            sampling = Sampling(temperature=1.5, seed=seed)
            reply = self.session().generate(PROMPT, schema=table, sampling=sampling)
            order = json.loads(reply.read())
            self.assertIn(order["item"], ("tea", "coffee"))
            self.assertIn(order["count"], range(1, 10))
            self.assertIn(reply.result.stop_reason, (StopReason.COMPLETE, StopReason.END_OF_TEXT))
            self.assertGreater(reply.result.forced, 0)

    def test_a_damaged_table_is_refused(self) -> None:
        table = SCHEMA.read_bytes()
        session = self.session()
        damaged = bytes([table[0] ^ 1]) + table[1:]
        for wrong in (damaged, table[:-1], b"\0" * 100, table + b"\0"):
            with self.assertRaises(kinglet.KingletError) as caught:
                session.generate(PROMPT, schema=wrong).read()
            self.assertIn(caught.exception.code, (201, 202, 203, 204))
            session.reset()
        with self.assertRaises(TypeError):
            session.generate(PROMPT, schema="{}")  # type: ignore[arg-type]

    def test_a_constraint_shapes_the_reply(self) -> None:
        word = self.model.encode("kinglet")
        for is_forced in (False, True):
            constraint = Word(word, is_forced)
            reply = self.session().generate(PROMPT, constraint=constraint)
            self.assertEqual(reply.read(), "kinglet")
            self.assertEqual(reply.result.stop_reason, StopReason.COMPLETE)
            self.assertEqual(reply.result.forced, len(word) if is_forced else 0)

    def test_what_a_constraint_raises_is_raised(self) -> None:
        word = self.model.encode("kinglet")
        for method in ("filter", "advance", "forced", "is_complete"):
            session = self.session()
            constraint = Word(word, True)
            if method == "filter":
                constraint.is_forced = False
            setattr(constraint, method, fail)
            with self.assertRaisesRegex(ZeroDivisionError, "a fault of the constraint's"):
                session.generate(PROMPT, constraint=constraint).read()
            # Nobody else has to suffer for that.
            self.assertEqual(len(list(session.generate(max_tokens=3, ignore_end=True))), 3)

    def test_a_constraint_that_allows_nothing_fails(self) -> None:
        self.assert_code(412, ValueError, self.session().generate(PROMPT, constraint=Word([])).read)

    def test_a_constraint_cannot_use_its_session(self) -> None:
        session = self.session()
        constraint = Word(self.model.encode("kinglet"))
        constraint.advance = lambda token: session.reset()  # type: ignore[method-assign]
        reply = session.generate(PROMPT, constraint=constraint)
        self.assert_code(407, RuntimeError, reply.read)
        self.assertEqual(list(reply), [])

    def test_one_shape_at_most(self) -> None:
        session, table = self.session(), SCHEMA.read_bytes()
        both = session.generate(PROMPT, schema=table, constraint=Word([1]))
        self.assert_code(404, ValueError, both.read)
        endless = session.generate(PROMPT, schema=table, ignore_end=True)
        self.assert_code(404, ValueError, endless.read)


class Word(kinglet.Constraint):
    """Lets a reply be these tokens."""

    def __init__(self, tokens: list[int], is_forced: bool = False) -> None:
        self.left = list(tokens)
        self.is_forced = is_forced
        self.is_empty = not tokens

    def filter(self, tokens: list[int]) -> Iterable[int]:
        return self.left[:1]

    def advance(self, token: int) -> None:
        assert self.left.pop(0) == token

    def forced(self) -> Optional[int]:
        return self.left[0] if self.is_forced and self.left else None

    def is_complete(self) -> bool:
        return not self.left and not self.is_empty


def fail(*_: object) -> None:
    raise ZeroDivisionError("a fault of the constraint's")


class Several(Case):
    PROMPTS = (PROMPT, "kinglet", "1, 2, 3")

    def test_replies_together_are_what_each_is_alone(self) -> None:
        samplings = [Sampling(temperature=1.5, seed=seed) for seed in range(3)]
        session = self.session(texts=3)
        self.assertEqual(session.info.texts, 3)
        replies = session.generate_all(
            self.PROMPTS, samplings=samplings, max_tokens=50, logprobs=1, ignore_end=True
        )
        pieces = list(replies)
        numbers = [number for number, _ in pieces]
        self.assertNotEqual(numbers, sorted(numbers))
        self.assertEqual([result.tokens for result in replies.results], [50] * 3)
        for number, (prompt, sampling) in enumerate(zip(self.PROMPTS, samplings)):
            alone = self.session().generate(
                prompt, sampling=sampling, max_tokens=50, logprobs=1, ignore_end=True
            )
            self.assertEqual([piece for at, piece in pieces if at == number], list(alone))
        # Everything else is about the first text.
        tokens = [piece.token for at, piece in pieces if at == 0 and piece.token is not None]
        self.assertEqual(session.tokens, self.model.encode(PROMPT) + tokens)

    def test_each_text_keeps_what_it_has_of_its_prompt(self) -> None:
        session = self.session(texts=3)
        first = session.generate_all(self.PROMPTS, max_tokens=20, ignore_end=True).read()
        with mock.patch("kinglet._call.prefill") as prefill:
            again = session.generate_all(self.PROMPTS, max_tokens=20, ignore_end=True).read()
        prefill.assert_not_called()
        self.assertEqual(again, first)
        fewer = session.generate_all(self.PROMPTS[1:], max_tokens=20, ignore_end=True).read()
        self.assertEqual(fewer, first[1:])

    def test_they_can_be_left(self) -> None:
        session = self.session(texts=2)
        with session.generate_all(self.PROMPTS[:2], ignore_end=True) as replies:
            read = [next(replies) for _ in range(9)]
        known = len(self.model.encode(PROMPT))
        self.assertIn(len(session.tokens) - known - sum(at == 0 for at, _ in read), (0, 1))
        self.assertEqual({result.stop_reason for result in replies.results}, {StopReason.LEFT})

    def test_wrong_requests_are_refused(self) -> None:
        session = self.session(texts=2)
        self.assert_code(404, ValueError, session.generate_all(self.PROMPTS).read)
        self.assert_code(404, ValueError, session.generate_all([]).read)
        self.assert_code(404, ValueError, session.generate_all([PROMPT, ""]).read)
        self.assert_code(401, ValueError, session.generate_all([PROMPT, [5] * 600]).read)
        self.assertEqual(session.tokens, self.model.encode(PROMPT))
        work = lambda: session.generate_all([PROMPT], samplings=[])  # noqa: E731
        self.assert_code(404, ValueError, work)
        self.assert_code(404, ValueError, lambda: self.session(texts=9))


class Chats(Case):
    def test_what_was_read_is_not_read_again(self) -> None:
        session = self.session()
        turns = [USER]
        reply = session.chat(turns, max_tokens=12)
        first = reply.read()
        self.assertEqual(
            session.tokens[: len(self.model.chat_tokens(turns))], self.model.chat_tokens(turns)
        )
        # The same once more: nothing is read, and the reply is the same.
        self.assertEqual(session.chat(turns, max_tokens=12).read(), first)
        # A text of its own has the same second reply as one that keeps the first.
        turns += [{"role": "assistant", "content": "A small bird."}, {**USER, "content": "Why?"}]
        second = session.chat(turns, max_tokens=12).read()
        self.assertEqual(self.session().chat(turns, max_tokens=12).read(), second)

    def test_only_the_new_part_is_read(self) -> None:
        session = self.session()
        turns = [{"role": "user", "content": "word " * 50}]
        session.chat(turns, max_tokens=1, ignore_end=True).read()
        known = len(self.model.chat_tokens(turns))
        read: list[int] = []
        prefill = kinglet._call.prefill

        def count(handle: object, prompt: list[int], worker: object) -> None:
            read.append(len(prompt))
            prefill(handle, prompt, worker)  # type: ignore[arg-type]

        turns += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "No."}]
        with mock.patch("kinglet._call.prefill", count):
            session.chat(turns, max_tokens=1, ignore_end=True).read()
            session.chat(turns, max_tokens=1, ignore_end=True).read()
        self.assertEqual(read, [len(self.model.chat_tokens(turns)) - known])


if __name__ == "__main__":
    unittest.main()
