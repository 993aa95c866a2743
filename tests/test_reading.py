"""Scores along the written answer, whatever the tokenizer cuts; answers with one reading."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sklfusion import LLMClassifier
from sklfusion._chat import Reply, TokenLogprobs
from sklfusion.llm._label_scores import score_labels
from sklfusion.llm._reply import reply_from_value
from sklfusion.prompts import (
    ReplyError,
    Task,
    label_logprobs,
    parse_label,
    parse_label_set,
    parse_scores,
    step_probabilities,
)
from sklfusion.prompts._labels import LabelIndex
from sklfusion.prompts._parse import content_of, parse_begun_label
from sklfusion.prompts._spelling import text_of
from sklfusion.replies import decode_reply, encode_reply
from sklfusion.scoring._strategies import Plan

NAMES = [
    "card_arrival",
    "card_linking",
    "card_not_working",
    "cash",
    "exchange_rate",
    "art",
    "artist",
    "not sure",
    "not offensive",
    "offensive",
    "2019",
    "2020",
    "😀",
    "😡",
    "体育",
    "体操",
    "café",
    "spam",
    "sports",
    "sports news",
]


def written(labels, probs, width, before=""):
    """Return the answer of a model with these beliefs whose tokens are ``width`` bytes long.

    It writes the most probable token each time, and every other token is listed with its
    probability, so the beliefs can be read off.
    """
    spelt = {k: [*cut(label.encode(), width), None] for k, label in enumerate(labels)}
    steps = [TokenLogprobs(before, -0.01, ((before, -0.01),))] if before else []
    alive, place = list(spelt), 0
    while True:
        total = sum(probs[k] for k in alive)
        tokens = {}
        for k in alive:
            token = spelt[k][place]
            tokens[token] = tokens.get(token, 0.0) + probs[k] / total
        best = max(tokens, key=tokens.get)
        top = [(text_of(t) if t is not None else "<|im_end|>", p) for t, p in tokens.items()]
        top = tuple((t, math.log(p)) for t, p in top)
        if best is not None:
            steps.append(TokenLogprobs(text_of(best), math.log(tokens[best]), top))
        alive = [k for k in alive if spelt[k][place] == best]
        place += 1
        if best is None or len(alive) == 1:
            rest = [] if best is None else spelt[alive[0]][place:-1]
            return steps + [TokenLogprobs(text_of(t), 0.0, ((text_of(t), 0.0),)) for t in rest], (
                alive[0]
            )


def cut(raw, width):
    """Return pieces of bytes, as a tokenizer might cut them, half characters and all."""
    return [raw[i : i + width] for i in range(0, len(raw), width)]


class TestPath:
    """Log-probabilities along the written label."""

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(st.sampled_from(NAMES), min_size=2, max_size=8, unique=True),
        st.integers(1, 6),
        st.sampled_from(["", " ", '"', "Label: "]),
        st.randoms(use_true_random=False),
    )
    def test_any_cut_gives_the_written_label_its_probability(self, labels, width, before, random):
        """The written label wins with what the model gave it; the others keep what is left."""
        probs = np.array([random.uniform(0.01, 1) for _ in labels])
        probs /= probs.sum()
        steps, said = written(labels, probs, width, before)
        content = before + labels[said]
        logprobs, coverage = label_logprobs(
            steps, LabelIndex(labels), content=content, written=parse_label(content, labels)
        )
        # A label that ends the written path ends without a token of its own, so the rest of the
        # last branch cannot be told from it.
        same = [k for k, label in enumerate(labels) if label.startswith(labels[said])]
        assert np.exp(logprobs)[said] >= probs[said] - 1e-6
        assert np.exp(logprobs)[same].sum() == pytest.approx(probs[same].sum(), abs=1e-6)
        assert coverage >= 0.98
        row = Plan("o", "m", Task(tuple(labels), label_form="words"), "logprobs").reader(
            Reply((content,), ("stop",), logprobs=tuple(steps))
        )
        assert row.probs.argmax() == said

    def test_labels_are_scored_where_they_part(self):
        """The shared beginning divides by what follows it; what parts at once by its own token."""
        labels = ["card_arrival", "card_linking", "card_lost", "rate"]
        steps = [
            step("card", {"card": 0.9, "rate": 0.08, "Card": 0.01}),
            step("_", {"_": 1.0}),
            step("arrival", {"arrival": 0.7, "l": 0.2, "lost": 0.1}),
        ]
        logprobs, coverage = label_logprobs(steps, LabelIndex(labels))
        # "l" may be two labels, of which one is listed by itself; "Card" is any of three.
        card = 0.01 * np.array([0.7, 0.0, 0.1, 0.0]) / 0.8
        wanted = np.array([0.9 * 0.7, 0.0, 0.9 * 0.3, 0.08]) + card
        np.testing.assert_allclose(np.exp(logprobs), wanted / wanted.sum(), atol=1e-9)
        assert coverage == pytest.approx(0.99)

    @pytest.mark.parametrize("finish", ["stop", "length"])
    def test_a_written_label_is_never_contradicted(self, finish):
        """Whatever the tokens say, or if they are of something else, the written label wins."""
        plan = Plan("o", "m", Task(("ham", "spam", "egg")), "logprobs")
        for steps in (
            [step("ham", {"ham": 0.9, "spam": 0.1})],
            [step("xyz", {"xyz": 0.6, "ham": 0.4})],
            [step("xyz", {"xyz": 1.0})],
            [step("s", {"ham": 0.6, "s": 0.4}), step("pam", {"pam": 1.0})],
        ):
            row = plan.reader(Reply(("spam",), (finish,), logprobs=tuple(steps)))
            assert row.probs.argmax() == 1
            assert np.isfinite(row.probs).all()
            assert row.probs.sum() == pytest.approx(1)
            assert row.flags & {"written_label", "low_coverage"}

    def test_an_answer_cut_by_the_limit_may_still_be_longer(self):
        """Cut after "sports", the answer is not read as "sports" if "sports news" is likelier."""
        plan = Plan("o", "m", Task(("sports", "sports news", "art")), "logprobs")
        cut_short = Reply(("sports",), ("length",), logprobs=(step("sports", {"sports": 0.9}),))
        assert plan.reader(cut_short).probs[:2].sum() > 0.9
        ended = Reply(("sports",), ("stop",), logprobs=(step("sports", {"sports": 0.9}),))
        assert plan.reader(ended).probs.argmax() == 0

    def test_thoughts_are_no_labels(self):
        """Tokens of a thought, and what they might have been, do not count."""
        steps = [
            step("<think>", {"<think>": 1.0}),
            step("ham", {"ham": 0.9, "spam": 0.1}),
            step("</think>", {"</think>": 1.0}),
            step("spam", {"spam": 0.8, "ham": 0.2}),
        ]
        content = "<think>ham</think>spam"
        plan = Plan("o", "m", Task(("ham", "spam")), "logprobs")
        row = plan.reader(Reply((content,), ("stop",), logprobs=tuple(steps)))
        np.testing.assert_allclose(row.probs, [0.2, 0.8])

    @pytest.mark.parametrize(
        "spell",
        [
            lambda raw: "".join(f"\\x{b:02x}" for b in raw),
            lambda raw: "".join(
                map(
                    {
                        0xF0: "\xf0",
                        0x9F: "\u0141",
                        0x98: "\u013a",
                        0x80: "\u0122",
                        0xA1: "\xa1",
                    }.get,
                    raw,
                )
            ),
        ],
    )
    def test_spellings_of_half_characters(self, spell):
        """Escaped bytes and entries of a byte-level vocabulary are read as what they stand for."""
        happy, angry = "😀".encode(), "😡".encode()
        steps = [
            TokenLogprobs(spell(happy[:3]), 0.0, ((spell(happy[:3]), 0.0),)),
            TokenLogprobs(
                spell(happy[3:]),
                math.log(0.7),
                ((spell(happy[3:]), math.log(0.7)), (spell(angry[3:]), math.log(0.3))),
            ),
        ]
        logprobs, _ = label_logprobs(steps, LabelIndex(["😀", "😡"]), content="😀", written=0)
        np.testing.assert_allclose(np.exp(logprobs), [0.7, 0.3])

    def test_bytes_of_tokens_survive_the_wire_and_the_store(self):
        """Half a character is kept, and rows written without bytes are read as before."""
        half = "😀".encode()[:2]
        entry = {"token": "\ufffd", "bytes": list(half), "logprob": -0.5, "top_logprobs": []}
        value = {"choices": [{"message": {"content": "😀"}, "logprobs": {"content": [entry]}}]}
        reply = reply_from_value(value)
        assert decode_reply(encode_reply(reply)) == reply
        assert reply.logprobs[0].token.encode("utf-8", "surrogateescape") == half
        old = Reply(("x",), logprobs=(TokenLogprobs("x", -0.5, (("x", -0.5),)),))
        assert decode_reply(encode_reply(old)) == old

    def test_lists_whose_labels_begin_alike(self):
        """The steps of a list follow each label to where it parts."""
        tokens = [
            step('["', {'["': 1.0}),
            step("card", {"card": 0.9, "rate": 0.1}),
            step("_arrival", {"_arrival": 0.7, "_lost": 0.3}),
            step('"]', {'"]': 1.0}),
        ]
        steps = step_probabilities(tokens, ("card_arrival", "card_lost", "rate"))
        np.testing.assert_allclose(steps, [[0.63, 0.27, 0.1, 0], [0, 0, 0, 1]], atol=1e-9)


def step(token, top):
    """Return one generated token with probabilities of the tokens at its place."""
    pairs = tuple((name, math.log(p)) for name, p in top.items())
    return TokenLogprobs(token, dict(pairs).get(token, -9.0), pairs)


class TestWholeLabels:
    """Models in this process score labels to where they part."""

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(st.sampled_from(NAMES), min_size=2, max_size=8, unique=True),
        st.integers(2, 6),
        st.randoms(use_true_random=False),
    )
    def test_the_beliefs_of_the_model_come_back(self, labels, width, random):
        """Where every branch is opened, each label has its probability."""
        assume(not any(a != b and b.startswith(a) for a in labels for b in labels))
        probs = np.array([random.uniform(0.5, 1) for _ in labels])
        probs /= probs.sum()

        def ask(said):
            begun = said.encode()
            going = [k for k, label in enumerate(labels) if label.encode().startswith(begun)]
            total = sum(probs[k] for k in going)
            tokens = {}
            for k in going:
                # Where a label ends a line end follows; tokens end at bytes, not at characters.
                token = labels[k].encode()[len(begun) :][:width] or b"\n"
                tokens[token] = tokens.get(token, 0.0) + probs[k] / total
            return [(token, math.log(p)) for token, p in tokens.items()]

        found, coverage, steps = score_labels(ask, labels)
        assert sum(found) == pytest.approx(1)
        assert coverage == pytest.approx(1)
        assert steps <= 2 * len(labels)
        if all(label.isascii() for label in labels):  # no prompt ends in half a character
            np.testing.assert_allclose(found, probs, atol=1e-6)

    def test_unlikely_branches_are_not_opened(self):
        """One step where one label has nearly all; the rest is shared and tiny."""
        calls = []

        def ask(said):
            calls.append(said)
            return [(b"rate", math.log(0.99)), (b"card", math.log(0.01))]

        found, _, steps = score_labels(ask, ["card_arrival", "card_linking", "rate"])
        assert calls == [""]
        assert steps == 1
        np.testing.assert_allclose(found, [0.005, 0.005, 0.99])


ONE_READING = [
    "[spam]",
    '["spam"]',
    "spam</s>",
    "spam<|im_end|>",
    "spam<|eot_id|>\n<|im_start|>user",
    "- spam",
    "**spam**",
    "spam (high confidence)",
    "spam\n\nThe text offers money.",
    "The final answer is spam.",
    "**Label:** spam",
    '{"label": "spam", "confidence": 0.9}',
    '{"label": ["spam"]}',
    "\\boxed{spam}",
    "<answer>spam</answer>",
    "spam - because it offers money",
    "1. spam",
    '{"spam": true, "ham": false}',
    "<s> spam",
    "<|im_start|>assistant\nspam<|im_end|>",
    "```\nspam\n```",
    "(spam)",
    "spam.\nReason: money",
    "It offers money for nothing.\n\nLabel: spam",
]
NO_READING = [
    "not spam",
    "spam or ham",
    "spam, ham",
    "spammy",
    "spam\n\nor rather ham",
    "spam, politics",
    "spam\nham",
    "The label is not spam",
    '{"a": "spam", "b": "ham"}',
    '{"label": true}',
    "[spam, ham]",
    "spam? No",
    "spam - no, wait, that is wrong",
    "spam (not ham)",
    '{"spam": true, "ham": true}',
    "this is surely not\n\nspam",
    "{}",
    "[]",
    "1",
    "null",
    "spam\n\nIt is not spam at all.",
]


class TestOneReading:
    """Answers are read where there is exactly one reading."""

    @pytest.mark.parametrize("said", ONE_READING)
    def test_read(self, said):
        """Wrapping, marks, fields and explanations around one label."""
        assert parse_label(said, ("ham", "spam")) == 1

    @pytest.mark.parametrize("said", NO_READING)
    def test_not_read(self, said):
        """Two labels, none, or one that is taken back."""
        with pytest.raises(ReplyError):
            parse_label(said, ("ham", "spam"))

    @pytest.mark.parametrize(
        ("said", "keys", "position"),
        [
            ("1", ("0", "1"), 1),
            ('{"label": 1}', ("0", "1"), 1),
            ("1.0", ("0", "1"), 1),
            ("1", ("1.0", "2.0"), 0),
            ("true", ("False", "True"), 1),
            ('{"label": true}', ("False", "True"), 1),
            ("*", ("*", "**", "***"), 0),
            ("**", ("*", "**", "***"), 1),
            ("!", ("+", "-", "!"), 2),
            ("- +", ("+", "-", "!"), 0),
            ("85%", ("15%", "85%"), 1),
        ],
    )
    def test_numbers_booleans_and_signs(self, said, keys, position):
        """A number counts for the one label of its value, a boolean for the label of its name."""
        assert parse_label(said, keys) == position

    def test_names_beside_ids(self):
        """A model that was shown ids may answer with one, with the name, or with both."""
        keys, names = ("A", "B"), ("card arrival", "a card: lost")
        for said in ("B", "a card: lost", "B = a card: lost", "B: a card: lost", "b", "(B)"):
            assert parse_label(said, keys, names) == 1
        with pytest.raises(ReplyError):
            parse_label("B: card arrival", keys, names)
        assert parse_label("A\n\nI think that a card has not come.", ("A", "B", "I")) == 0

    @pytest.mark.parametrize(
        ("said", "wanted"),
        [
            ("[1, 3]", {0, 2}),
            ('["1", "3"]', {0, 2}),
            ("none", set()),
            ("1", {0}),
            ("1, 3", {0, 2}),
            ('{"1": true, "2": false, "3": true}', {0, 2}),
            ("[1, 3]<|im_end|>", {0, 2}),
        ],
    )
    def test_sets(self, said, wanted):
        """Numbers, bare lists and yes and no for each label."""
        assert parse_label_set(said, ("1", "2", "3")) == wanted

    @pytest.mark.parametrize(
        "said", ["[1, 4]", "1, 4", '{"1": true, "4": false}', "1 1", "[1, 1]"]
    )
    def test_bad_sets(self, said):
        """One unknown or doubled label is one too many."""
        with pytest.raises(ReplyError):
            parse_label_set(said, ("1", "2", "3"))

    @pytest.mark.parametrize(
        "said",
        [
            '{"a": 90, "b": 10}',
            '{"a": "90%", "b": "10 %"}',
            '{"scores": {"a": 0.9, "b": 0.1}}',
            '[{"label": "a", "score": 0.9}, {"label": "b", "score": 0.1}]',
            '{"a": 0.9, "b": 0.1000001}',
        ],
    )
    def test_scores(self, said):
        """Percentages, an object in an object, a list of labels and numbers."""
        np.testing.assert_allclose(parse_scores(said, "ab")[0], [0.9, 0.1], atol=1e-6)

    @pytest.mark.parametrize(
        "said",
        [
            '{"a": 90, "b": 0.1}',
            '{"a": "90%", "b": 0.1}',
            '{"a": 9, "b": 1}',
            '{"a": 60, "b": 60}',
        ],
    )
    def test_scores_of_no_scale(self, said):
        """Mixed and unknown scales are refused, and percentages of several true labels too."""
        with pytest.raises(ReplyError):
            parse_scores(said, "ab")
        with pytest.raises(ReplyError):
            parse_scores('{"a": 90, "b": 10}', "ab", multilabel=True)


class TestThinking:
    """Thoughts in the content are set aside."""

    @pytest.mark.parametrize(
        "said",
        [
            "<think>\n\n</think>\n\nspam",
            "so it is ham.\n</think>\n\nspam",
            "<think>ham {</think><think>[</think>spam",
            "[THINK]ham?[/THINK]spam",
            "<Thinking>x</Thinking>spam",
            "<|channel|>analysis<|message|>ham?<|end|><|start|>assistant<|channel|>final<|message|>spam",
        ],
    )
    def test_set_aside(self, said):
        """Empty, closed, several, without a beginning, in any model's marks."""
        assert parse_label(content_of(Reply((said,))), ("ham", "spam")) == 1

    @pytest.mark.parametrize(
        "said", ["<think>it is spam", "spam <think>or ham", "<think></think>"]
    )
    def test_without_an_answer(self, said):
        """A thought that does not end has no answer, whatever it names."""
        with pytest.raises(ReplyError):
            content_of(Reply((said,)))

    def test_parts_are_joined(self):
        """Text parts of a list are the content, thoughts and others are not."""
        parts = [
            {"type": "thinking", "thinking": [{"type": "text", "text": "ham"}]},
            {"type": "text", "text": "sp"},
            {"type": "text", "text": "am"},
        ]
        assert reply_from_value({"choices": [{"message": {"content": parts}}]}).contents == (
            "spam",
        )


class TestSpellings:
    """A label as models write it who do not copy it letter by letter."""

    @pytest.mark.parametrize(
        "said",
        [
            "card arrival",
            "Card-Arrival.",
            "**Card  Arrival**",
            '{"label": "card arrival"}',
            "\u201ccard_arrival\u201d",
            "\u00abcard arrival\u00bb",
            "\u300ccard_arrival\u300d",
            "card_arrival\u3002",
            "\u200fcard_arrival\u200f",
            "\u2068card_arrival\u2069",
        ],
    )
    def test_one_reading(self, said):
        """Joins between words, quotation marks of any script, marks that nobody sees."""
        assert parse_label(said, ("card_linking", "card_arrival", "card")) == 1

    @pytest.mark.parametrize(
        ("said", "keys"),
        [
            ("a b", ("a_b", "a-b")),
            ("1", ("-1", "0")),
            ("-1", ("1", "0")),
            ("C", ("C#", "Java")),
            ("C#", ("C", "Java")),
            ("cardarrival", ("card_arrival", "x")),
            ("ham", ("ham\u200b", "egg")),
        ],
    )
    def test_none(self, said, keys):
        """Two labels that only a join tells apart; signs that are part of a name."""
        with pytest.raises(ReplyError):
            parse_label(said, keys)

    def test_pictures_in_two_variants(self):
        """The heart with and without the mark that makes it red."""
        assert parse_label("\u2764", ("\U0001f494", "\u2764\ufe0f")) == 1
        assert parse_label("\u2764\ufe0f", ("\U0001f494", "\u2764")) == 1


class TestCutExplanations:
    """The limit of tokens cut what follows a label, not the label."""

    @pytest.mark.parametrize(
        "said",
        [
            "spam\n\nThe text offers mon",
            "**Spam**\nBecause it of",
            '{"label": "spam", "reason": "it off',
            '```json\n{\n  "label": "spam",\n  "why": "it',
        ],
    )
    def test_read(self, said):
        """One request is enough."""
        assert parse_begun_label(Reply((said,), ("length",)), ("ham", "spam")) == 1

    @pytest.mark.parametrize(
        "said",
        [
            "spam",
            "spam because it off",
            "spam\nor rather ham",
            '{"label": "spam',
            '{"label": "spam"',
            '{"reason": "spam", "label": "ha',
            "The text\nis spam",
            "<think>it is\nspam",
            "",
        ],
    )
    def test_not_read(self, said):
        """What may still become another label, or names two, is asked for again."""
        assert parse_begun_label(Reply((said,), ("length",)), ("ham", "spam")) is None

    def test_end_to_end(self, fault_server):
        """A model that explains itself costs one request a text."""
        choice = {"index": 0, "message": {"content": "ham\nIt is"}, "finish_reason": "length"}
        fault_server.script({"fault": {"kind": "merge", "fields": {"choices": [choice]}}})
        clf = LLMClassifier(
            "m", classes=["ham", "spam"], base_url=fault_server.base_url, strategy="label"
        )
        assert clf.fit(["x"]).predict(["one", "two"]).tolist() == ["ham", "ham"]
        assert fault_server.ledger().received == 2


def test_more_classes_than_ids():
    """Asked for by id, 256 classes are refused at fit, before anything is sent."""
    classes = [f"class number {i}" for i in range(256)]
    clf = LLMClassifier("m", classes=classes, base_url="http://127.0.0.1:1/v1", label_form="ids")
    with pytest.raises(ValueError, match="ids for up to 255"):
        clf.fit(["x"])
