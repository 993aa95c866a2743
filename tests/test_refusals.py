"""What an endpoint refuses, against a real one in another process."""

import pytest

from sklfusion import LLMScorer
from sklfusion.exceptions import (
    AuthenticationError,
    EndpointError,
    ModelNotFoundError,
    QuotaError,
    ScoringWarning,
)
from sklfusion.testing import expected_label

CLASSES = ["world", "sport", "money"]
TEXTS = [f"note {i} about {CLASSES[i % 3]}" for i in range(24)]


@pytest.fixture
def scorer(fault_server):
    """Make a fitted scorer that asks the loopback endpoint."""

    def make(**params):
        params = {"strategy": "label", "classes": CLASSES, "output": "proba", **params}
        return LLMScorer("loopback", base_url=fault_server.base_url, **params).fit(["any"])

    return make


def right(annotations, texts=TEXTS):
    """Tell whether all texts have the label that the endpoint's rule gives."""
    return annotations.labels().tolist() == [expected_label(t, CLASSES) for t in texts]


def refuse(message, status=400, **rule):
    """Return a rule that refuses some requests."""
    body = {"error": {"message": message, "type": "invalid_request_error"}}
    return {"fault": {"kind": "status", "status": status, "body": body}, **rule}


def inside(error, **rule):
    """Return a rule that answers 200 with an error inside."""
    return {"fault": {"kind": "body", "body": {"error": error}, "billed": False}, **rule}


class TestRefusedFields:
    """Dropped or renamed once, remembered, told; the answer is what it would have been."""

    @pytest.mark.parametrize(
        ("strategy", "rule", "told"),
        [
            ("label", refuse("max_tokens: use 'max_completion_tokens'", field="max_tokens"),
             {"max_tokens": "max_completion_tokens", "thinking_tokens": 2048}),
            ("label", refuse("System role not supported", role="system"),
             {"system": "in the user message"}),
            ("logprobs", refuse("top_logprobs must be <= 5", field="top_logprobs", above=5),
             {"top_logprobs": 5}),
            ("logprobs", refuse("no logprobs", 403, field="logprobs"),
             {"logprobs": "left out", "top_logprobs": "left out"}),
            ("probabilities", refuse("response_format unavailable", field="response_format"),
             {"response_format": "left out"}),
            ("votes", refuse("'n' : number must be at most 1", field="n", above=1),
             {"n": "left out"}),
        ],
    )  # fmt: skip
    def test_each(self, fault_server, scorer, strategy, rule, told):
        """All texts are answered, and after the first ones nothing is refused again."""
        fault_server.script(rule)
        more_params = {"n_votes": 3} if strategy == "votes" else {}
        made = scorer(strategy=strategy, max_concurrency=2, **more_params)
        annotations = made.annotate(TEXTS)
        assert right(annotations)
        assert annotations.meta["adapted"] == told
        votes = 3 if strategy == "votes" else 1
        before = fault_server.ledger().received
        assert before <= votes * len(TEXTS) + 2
        more = [f"more {text}" for text in TEXTS]
        assert right(made.annotate(more), more)
        assert fault_server.ledger().received - before == votes * len(TEXTS)
        assert made.usage_.requests == fault_server.ledger().billed

    def test_several_at_once_in_many_threads(self, fault_server, scorer):
        """No text is lost while the workers find out."""
        fault_server.script(
            refuse("max_tokens is not known", field="max_tokens"),
            refuse("temperature is not known", 422, field="temperature"),
            refuse("System role not supported", role="system"),
        )
        annotations = scorer(max_concurrency=16).annotate(TEXTS)
        assert right(annotations)
        assert set(annotations.meta["adapted"]) == {
            "max_tokens", "thinking_tokens", "temperature", "system",
        }  # fmt: skip

    def test_a_second_run_needs_no_requests(self, fault_server, scorer, tmp_path):
        """Replies are kept under what was asked."""
        fault_server.script(refuse("System role not supported", role="system"))
        first = scorer(memory=tmp_path).transform(TEXTS)
        before = fault_server.ledger().received
        assert (scorer(memory=tmp_path).transform(TEXTS) == first).all()
        assert fault_server.ledger().received == before

    def test_what_the_user_set_is_told(self, fault_server, scorer):
        """A field of request_params is not dropped in silence; one warning for each object."""
        fault_server.script(refuse("unknown field: seed", field="seed"))
        made = scorer(request_params={"seed": 5})
        with pytest.warns(ScoringWarning, match="request_params.*seed"):
            assert right(made.annotate(TEXTS))
        made.annotate(["more of sport"])

    def test_a_text_that_names_a_field(self, fault_server, scorer):
        """A misread refusal costs its text a request and the others nothing."""
        fault_server.reset(keep_bodies=True)
        fault_server.script(refuse("temperature of the text too high", contains="note 5"))
        made = scorer(max_concurrency=1)
        with pytest.warns(ScoringWarning, match="temperature of the text"):
            annotations = made.annotate(TEXTS)
        assert (~annotations.ok).nonzero()[0].tolist() == [5]
        assert annotations.meta["adapted"] == {}
        bodies = fault_server.ledger(events=True).bodies
        assert sum("temperature" not in body for body in bodies) == 1

    def test_models_that_think_get_room(self, fault_server, scorer):
        """Answers cut before they began are asked for with more tokens, from then on all."""
        fields = {"choices": {"0": {"finish_reason": "length", "message": {"content": ""}}}}
        fault_server.script(
            {"fault": {"kind": "merge", "fields": fields}, "field": "temperature", "times": 1}
        )
        made = scorer(max_concurrency=1)
        annotations = made.annotate(TEXTS)
        assert right(annotations)
        assert annotations.meta["adapted"] == {"thinking_tokens": 2048}
        assert fault_server.ledger().received == len(TEXTS) + 1

    @pytest.mark.parametrize("status", [400, 403, 404, 422, 500, 501])
    @pytest.mark.parametrize("words", ["logprobs are not supported", "sorry"])
    def test_auto_falls_back(self, fault_server, scorer, status, words):
        """Whatever the status and the words, the next strategy serves."""
        fault_server.script(refuse(words, status, field="logprobs"))
        annotations = scorer(strategy="auto").annotate(TEXTS)
        assert right(annotations)
        assert annotations.meta["strategy"] == "probabilities"
        assert annotations.meta["adapted"] == {}

    def test_auto_does_not_take_an_outage_for_a_refusal(self, fault_server, scorer, tmp_path):
        """500 for a moment, and 503 for longer, say nothing on the strategy."""
        down = {"fault": {"kind": "status", "status": 500}, "times": 3}
        fault_server.script(down)
        assert scorer(strategy="auto", memory=tmp_path).annotate(TEXTS).meta["strategy"] == (
            "logprobs"
        )
        fault_server.script({"fault": {"kind": "status", "status": 503}, "times": 3})
        more = [f"more {text}" for text in TEXTS]
        assert scorer(strategy="auto").annotate(more).meta["strategy"] == "logprobs"


class TestErrorsInside:
    """An error with a status of 200 is what its code says, and costs nothing."""

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            ({"code": 401, "message": "No auth credentials found"}, AuthenticationError),
            ({"code": "401", "message": "no"}, AuthenticationError),
            ({"code": 402, "message": "Insufficient credits"}, QuotaError),
            ({"code": "insufficient_quota", "message": "no"}, QuotaError),
            ({"code": 403, "message": "You have no permission"}, AuthenticationError),
            ({"code": "model_not_found", "code_": 404, "status": 404}, ModelNotFoundError),
            ("Invalid API key", AuthenticationError),
        ],
    )
    def test_stops(self, fault_server, scorer, error, kind):
        """A refused key, account or model ends the run at once."""
        fault_server.script(inside(error))
        made = scorer(max_concurrency=2)
        with pytest.raises(kind):
            made.annotate(TEXTS)
        assert fault_server.ledger().received <= 2
        assert made.usage_.requests == 0

    @pytest.mark.parametrize(
        "error",
        [
            {"code": 429, "message": "rate-limited upstream"},
            {"code": 502, "message": "overloaded"},
            {"code": "rate_limit_exceeded", "message": "slow down"},
            {"type": "server_error", "message": "oops"},
            {"message": "something odd"},
        ],
    )
    def test_passes(self, fault_server, scorer, error):
        """What passes is tried again; only answers count as paid."""
        fault_server.script(inside(error, attempts=[1]))
        made = scorer()
        assert right(made.annotate(TEXTS))
        assert made.usage_.requests == len(TEXTS)

    def test_inside_a_choice(self, fault_server, scorer):
        """A label in an answer that failed is no label."""
        failed = {"finish_reason": "error", "message": {"content": "sport"}}
        rule = {"fault": {"kind": "merge", "fields": {"choices": {"0": failed}}}, "attempts": [1]}
        fault_server.script(rule)
        made = scorer()
        assert right(made.annotate(TEXTS))
        assert made.usage_.requests == len(TEXTS)
        fault_server.reset(script=[{**rule, "attempts": "all", "contains": "alone"}])
        with pytest.warns(ScoringWarning, match="error: 1"):
            annotations = made.annotate(["alone with sport"])
        assert not annotations.ok[0]
        assert fault_server.ledger().received <= 4

    def test_filtered(self, fault_server, scorer):
        """A filter's word in any spelling; the text abstains and nothing was paid."""
        reasons = ["content_filter", "content_filter: PROHIBITED_CONTENT", "SAFETY"]
        fault_server.script(*(
            {"fault": {"kind": "merge", "usable": True, "fields": {"choices": {"0": {
                "finish_reason": reason, "message": {"content": None}}}}},
             "contains": f"text {number} "}
            for number, reason in enumerate(reasons)
        ))  # fmt: skip
        made = scorer()
        with pytest.warns(ScoringWarning, match="content_filter: 3"):
            annotations = made.annotate([f"text {n} of money" for n in range(4)])
        assert annotations.status.tolist() == ["refused"] * 3 + ["ok"]
        assert made.usage_.requests == 1


class TestWhoseFault:
    """403 and 404: one text's, or everybody's."""

    PAGE = "<html><title>Attention Required!</title></html>"

    @pytest.mark.parametrize("place", [0, 5])
    @pytest.mark.parametrize(
        ("status", "body", "cause"),
        [
            (403, {"error": {"code": 403, "message": "Input was flagged by moderation"}},
             "content_filter"),
            (403, PAGE, "http_403"),
            (404, PAGE, "http_404"),
            (403, {"error": {"message": "Forbidden"}}, "http_403"),
            (451, {}, "http_451"),
            (422, {"error": "`inputs` must have less than 4095 tokens. Given: 5000"}, "too_long"),
        ],
    )  # fmt: skip
    def test_one_text(self, fault_server, scorer, status, body, cause, place):
        """That row is refused, be it the first, and the others are answered."""
        fault = {"kind": "status", "status": status, "body": body}
        fault_server.script({"fault": fault, "contains": f"note {place} "})
        with pytest.warns(ScoringWarning, match=cause):
            annotations = scorer(max_concurrency=2).annotate(TEXTS)
        failed = "missing" if cause == "too_long" else "refused"
        wanted = [failed if n == place else "ok" for n in range(len(TEXTS))]
        assert annotations.status.tolist() == wanted

    @pytest.mark.parametrize(
        ("status", "message", "kind"),
        [
            (400, "Your credit balance is too low to access the API.", QuotaError),
            (400, "Budget has been exceeded! Max budget: 1.0", QuotaError),
            (403, "Denied due to Virtual Network/Firewall rules.", AuthenticationError),
        ],
    )
    def test_an_account_is_nobodys_text(self, fault_server, scorer, status, message, kind):
        """What every text would get ends the run at the first."""
        fault_server.script(refuse(message, status))
        with pytest.raises(kind):
            scorer(max_concurrency=1).annotate(TEXTS)
        assert fault_server.ledger().received == 1

    @pytest.mark.parametrize(
        ("status", "body", "kind"),
        [
            (403, {"error": {"message": "Forbidden"}}, AuthenticationError),
            (403, PAGE, AuthenticationError),
            (404, PAGE, ModelNotFoundError),
            (404, {"detail": "Not Found"}, ModelNotFoundError),
        ],
    )
    @pytest.mark.parametrize("workers", [1, 4])
    def test_every_text(self, fault_server, scorer, status, body, kind, workers):
        """The run ends after three, or after those in flight."""
        fault_server.script({"fault": {"kind": "status", "status": status, "body": body}})
        with pytest.raises(kind):
            scorer(max_concurrency=workers).annotate(TEXTS)
        assert fault_server.ledger().received <= max(3, workers)

    def test_words_reach_the_user(self, fault_server, scorer, monkeypatch):
        """What the endpoint says is in the error, its key is not."""
        monkeypatch.setenv("SKLFUSION_TEST_KEY", "swordfish-on-fire")
        body = {
            "error": {
                "message": "key swordfish-on-fire\nis for another region",
                "code": "swordfish-on-fire",
                "type": "Bearer swordfish-on-fire",
            }
        }
        fault_server.script({"fault": {"kind": "status", "status": 401, "body": body}})
        with pytest.raises(AuthenticationError, match="is for another region") as caught:
            scorer(api_key_env="SKLFUSION_TEST_KEY").annotate(TEXTS)
        assert "swordfish" not in f"{caught.value} {caught.value.args} {vars(caught.value)}"
        fault_server.script(refuse("we close at noon", contains="note 3 "))
        with pytest.warns(ScoringWarning, match="we close at noon"):
            scorer().annotate(TEXTS)


class TestPatience:
    """What costs nothing is asked for until the deadline; what is of no use is not paid on."""

    @pytest.mark.parametrize("status", [429, 503, 520])
    def test_an_outage_loses_nothing(self, fault_server, scorer, status):
        """Far more refusals than the retry budget has."""
        fault_server.script({"fault": {"kind": "status", "status": status}, "times": 45})
        made = scorer(max_concurrency=16)
        assert right(made.annotate(TEXTS))
        assert made.usage_.requests == fault_server.ledger().billed == len(TEXTS)

    def test_waits_in_the_body(self, fault_server, scorer):
        """Nobody asks before the time that the body states."""
        info = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.5s"}]
        body = [{"error": {"code": 429, "message": "quota", "details": info}}]
        fault_server.script({"fault": {"kind": "status", "status": 429, "body": body}, "times": 1})
        assert right(scorer(max_concurrency=1).annotate(TEXTS[:2]), TEXTS[:2])
        events = fault_server.ledger(events=True).events
        assert events[1]["started"] - events[0]["started"] >= 1.45

    def test_unusable_answers_end_a_run(self, fault_server, scorer):
        """A model that writes prose is not paid for all rows."""
        fault_server.script({"fault": {"kind": "content", "content": "It is hard to say."}})
        texts = [f"text {n}" for n in range(200)]
        with pytest.raises(EndpointError, match="It is hard to say"):
            scorer(max_concurrency=4).annotate(texts)
        assert fault_server.ledger().received <= 2 * (8 + 4)

    def test_a_few_texts_are_asked_about_to_the_end(self, fault_server, scorer):
        """Two of ten answers can be read, whichever come first."""
        prose = [
            {"contains": f"text {n}", "fault": {"kind": "content", "content": "It is hard."}}
            for n in range(8)
        ]
        fault_server.script(*prose)
        texts = [f"text {n}" for n in range(8)] + ["sport", "world"]
        with pytest.warns(ScoringWarning, match="unknown_label: 8"):
            annotations = scorer(max_concurrency=1).annotate(texts)
        assert annotations.ok.tolist() == [False] * 8 + [True] * 2

    def test_filtered_and_long_texts_never_do(self, fault_server, scorer):
        """Twenty of each, before anything is answered."""
        fault_server.script(
            refuse("content_filter", contains="filtered"),
            refuse("maximum context length is 10 tokens", contains="long"),
        )
        texts = [f"{kind} {n}" for n in range(20) for kind in ("filtered", "long")]
        with pytest.warns(ScoringWarning, match="content_filter: 20.*too_long: 20"):
            annotations = scorer(max_concurrency=4).annotate([*texts, "sport"])
        assert annotations.ok.tolist() == [False] * 40 + [True]

    def test_an_error_in_a_list_with_a_200(self, fault_server, scorer):
        """As Google tells errors: classed by its code and not paid."""
        body = [{"error": {"code": 503, "message": "overloaded"}}]
        fault_server.script({"fault": {"kind": "body", "body": body, "billed": False}, "times": 2})
        made = scorer(max_concurrency=1)
        assert right(made.annotate(TEXTS[:2]), TEXTS[:2])
        assert made.usage_.requests == 2

    def test_any_2xx_with_an_answer(self, fault_server, scorer):
        """201 and the like are answers when the completion is whole."""
        fault_server.script({"fault": {"kind": "content", "content": "sport", "status": 201}})
        annotations = scorer().annotate(TEXTS)
        assert annotations.labels().tolist() == ["sport"] * len(TEXTS)
