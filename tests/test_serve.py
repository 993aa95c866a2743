"""The service, asked as others ask it: a real process, real requests."""

import json
import subprocess
import sys
import threading

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklfusion import AutoFusionClassifier, CascadeClassifier, RecordedScorer, persistence
from sklfusion.exceptions import PersistenceError, SklFusionError
from sklfusion.serve import ServiceSettings, create_app, serve_file
from sklfusion.serve._body import parse_strict
from sklfusion.serve._errors import Refusal
from sklfusion.serve._served import ServedModel
from tests._bundles import make_auto, rewrite
from tests._serving import counted, serving

pytestmark = pytest.mark.filterwarnings("ignore:RecordedScorer has no output")

WORDS = {"ham": "a nice letter from a friend", "spam": "win money now, click here"}
TEXTS = [f"{said} {n}" for n in range(15) for said in WORDS.values()]
LABELS = ["ham", "spam"] * 15
NEW = "a letter about money 3"


@pytest.fixture(scope="module")
def model():
    return make_auto(TEXTS, LABELS)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "mail.sklf"
    persistence.save(model, path)
    return path


@pytest.fixture(scope="module")
def service(saved):
    with serving(saved, "--max-mb", "0.1", "--max-queue", "40", "--timeout", "120") as running:
        yield running
        status, log = running.stop()
    assert status == 0
    assert "Traceback" not in log
    assert all(text not in log for text in (NEW, "SECRET"))


def _choice(*values, **more):
    return {
        "type": "choice",
        "instructions": "What is it?",
        "choices": [{"value": value} for value in values],
        **more,
    }


def _decisions(service, *questions, text=NEW):
    body = {"model": "any", "input": text, "questions": list(questions)}
    return service.ask("/v1/decisions", body)


def _systemone(service, state=NEW, **questions):
    body = {"model": "jev-latest", "state": state, "questions": questions}
    return service.ask("/v1/systemone", body)


# -------------------------------------------------------------------------------- predictions


def test_predictions_are_those_of_the_model(service, model):
    """Labels and probabilities, text by text."""
    texts = [NEW, TEXTS[0], TEXTS[1], NEW]
    status, told = service.ask("/predict", {"texts": texts})
    assert (status, told["classes"], told["model"]) == (200, ["ham", "spam"], "mail")
    found = [list(row["probabilities"].values()) for row in told["predictions"]]
    np.testing.assert_allclose(found, model.predict_proba(texts), atol=1e-9)
    assert [row["label"] for row in told["predictions"]] == model.predict(texts).tolist()


def test_each_source_is_told(service, model):
    """What it said, how far it is trusted, what it adds; silence is null."""
    _, told = service.ask("/predict", {"texts": [TEXTS[0], NEW]})
    known, unknown = (
        {source["name"]: source for source in row["sources"]} for row in told["predictions"]
    )
    trust = model.fusion_.source_weights_
    assert {name: source["trust"] for name, source in known.items()} == pytest.approx(trust)
    assert known["llm"]["probabilities"]["ham"] > 0.9
    assert unknown["llm"]["probabilities"] is None
    parts = model.contributions([TEXTS[0]])
    assert known["encoder"]["log_odds"]["spam"] == pytest.approx(parts["encoder"][0, 1], abs=1e-6)
    _, short = service.ask("/predict", {"texts": [NEW], "sources": False})
    assert "sources" not in short["predictions"][0]


def test_many_at_once_get_each_their_own(service, model):
    """Requests that share a batch do not mix."""
    wanted = dict(zip(TEXTS, model.predict_proba(TEXTS)[:, 1], strict=True))
    found = {}

    def ask(text):
        status, told = service.ask("/predict", {"texts": [text], "sources": False})
        if status == 200:
            found[text] = told["predictions"][0]["probabilities"]["spam"]

    threads = [threading.Thread(target=ask, args=(text,)) for text in TEXTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == pytest.approx(wanted, abs=1e-9)


# ---------------------------------------------------------------------------------- decisions


def test_the_openai_sdk_returns_our_probabilities(service, model):
    """Order, names, typed values; to 1e-6."""
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0)
    questions = [
        _choice("spam", "ham", name="kind"),
        {"type": "predicate", "instructions": "spam"},
        {
            "type": "score",
            "instructions": "How bad?",
            "levels": [{"label": "ham"}, {"label": "spam", "description": "bad"}],
        },
    ]
    decision = client.decisions.create(model="any", input=NEW, questions=questions)
    ham, spam = model.predict_proba([NEW])[0]
    kind, predicate, score = decision.answers
    assert {p.value: p.probability for p in kind.probabilities} == pytest.approx(
        {"ham": ham, "spam": spam}, abs=1e-6
    )
    assert (kind.name, predicate.name) == ("kind", None)
    assert [p.value for p in kind.probabilities] == ["spam", "ham"]
    assert predicate.probability == pytest.approx(spam, abs=1e-6)
    assert score.score == pytest.approx(spam, abs=1e-6)
    assert [(p.value, p.label) for p in score.probabilities] == [(0, "ham"), (1, "spam")]
    assert decision.model == "mail"


def test_messages_and_parts_are_texts(service):
    """A list of user messages is the text of all; a system message belongs elsewhere."""
    parts = [{"type": "input_text", "text": NEW}]
    message = {"role": "user", "content": parts}
    question = {"type": "predicate", "instructions": "ham"}
    as_text = _decisions(service, question)[1]["answers"]
    assert _decisions(service, question, text=[message])[1]["answers"] == as_text
    status, told = _decisions(service, question, text=[{"role": "system", "content": "x"}])
    assert status == 400
    assert told["error"]["param"].startswith("input")


def test_systemone_answers_by_id(service, model):
    """Noul, choice and score, with legend and confidence; ids say nothing."""
    status, told = _systemone(
        service,
        spam={"type": "noul", "instructions": "ham"},
        b={"type": "noul", "criteria": {"true": "spam"}, "instructions": "Is it junk?"},
        c={"type": "choice", "instructions": None, "criteria": {"spam": None, "ham": "good"}},
        d={"type": "score", "criteria": ["ham", "spam"]},
    )
    ham, spam = model.predict_proba([NEW])[0]
    assert status == 200
    answers = told["answers"]
    assert answers["spam"]["noul"] == pytest.approx(ham, abs=1e-9)
    assert answers["b"]["noul"] == pytest.approx(spam, abs=1e-9)
    assert answers["c"]["probabilities"] == pytest.approx({"spam": spam, "ham": ham}, abs=1e-9)
    assert answers["c"]["choice"] == ("spam" if spam > ham else "ham")
    assert answers["c"]["confidence"] == pytest.approx(2 * max(ham, spam) - 1, abs=1e-9)
    assert answers["d"]["legend"] == {"0": "ham", "1": "spam"}
    assert {answer["x_source"] for answer in answers.values()} == {"fused"}


@pytest.mark.parametrize(
    ("question", "status", "code"),
    [
        (_choice("ham", "eggs"), 422, "unknown_question"),
        (_choice("ham", True), 422, "unknown_question"),
        ({"type": "predicate", "instructions": "It is about spam."}, 422, "unknown_question"),
        (_choice("ham", "ham"), 400, "duplicate"),
        (_choice("ham", ""), 400, "empty"),
        (_choice("ham"), 400, "too_short"),
        ({"type": "choice", "choices": []}, 400, "missing"),
        ({"type": "riddle", "instructions": "?"}, 400, "union_tag_invalid"),
        ({"type": "predicate", "instructions": " "}, 400, "empty"),
    ],
)
def test_questions_that_cannot_be_answered(service, question, status, code):
    """What the model was not fitted for is refused, and malformed is told apart from it."""
    found, told = _decisions(service, question)
    assert (found, told["error"]["code"]) == (status, code)


def test_systemone_refuses_in_its_own_shape(service):
    """422 with detail[], where a program finds the place."""
    status, told = _systemone(service, a={"type": "score", "criteria": ["ham", None]})
    assert status == 422
    (fault,) = told["detail"]
    assert fault["loc"] == ["body", "questions", "a", "criteria", 1]
    status, told = _systemone(service, a={"type": "score", "criteria": {"0": "ham"}})
    assert status == 422
    assert told["detail"][0]["loc"][:3] == ["body", "questions", "a"]
    assert _systemone(service, a={"type": "noul"})[0] == 422
    assert service.ask("/v1/systemone", b"{")[0] == 422


# ----------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"", 400),
        (b"\xff", 400),
        (b'{"texts": [NaN]}', 400),
        (b'{"texts": ["a"], "x": 1e999}', 400),
        (b'{"texts": ["\\ud800"]}', 400),
        (b'{"texts": [' + b"9" * 5000 + b"]}", 400),
        (b"[" * 50_000, 400),
        ({"texts": ["a"], "x": [[[[[[[[[[0]]]]]]]]]]}, 200),
        ([], 422),
        ({"texts": "SECRET"}, 422),
        ({"texts": ["SECRET", 3]}, 422),
        ({"texts": [None]}, 422),
        ({"texts": []}, 422),
        ({"texts": ["a", "  "]}, 422),
        ({}, 422),
        ({"texts": ["a"], "ask": "always"}, 422),
        ({"texts": ["a"] * 41}, 413),
        ({"texts": ["SECRET" * 1_700_000]}, 413),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_bodies(service, body, status):
    """Each has its status, says why without quoting, and the process lives on."""
    found, told = service.ask("/predict", body)
    assert found == status
    if status != 200:
        assert told["error"]["message"]
        assert "SECRET" not in json.dumps(told)
    assert service.send("GET", "/health")[0] == 200


def test_other_faults_of_requests(service):
    """Path, method, media type, host."""
    assert service.send("GET", "/nowhere")[0] == 404
    assert service.send("GET", "/predict")[0] == 405
    texts = b'{"texts": ["a"]}'
    assert service.send("POST", "/predict", texts, Content_Type="text/plain")[0] == 415
    assert service.send("GET", "/", Host="evil.example")[0] == 421
    assert service.send("GET", "/", Host="localhost:1")[0] == 200


def test_what_the_service_tells_about_itself(service):
    """Models in both shapes, counters, a description of all routes, careful headers."""
    models = json.loads(service.send("GET", "/v1/models")[2])
    assert (models["data"][0]["id"], models["models"][0]["name"]) == ("mail", "mail")
    assert models["data"][0]["x_about"]["mode"] == "strict"
    service.ask("/predict", {"texts": [NEW]})
    page = service.send("GET", "/metrics")[2].decode()
    assert 'sklfusion_requests_total{route="/predict",status="200"}' in page
    assert NEW not in page
    described = json.loads(service.send("GET", "/openapi.json")[2])
    assert {"/predict", "/v1/decisions", "/v1/systemone"} <= set(described["paths"])
    assert "PredictBody" in described["components"]["schemas"]
    headers = service.send("GET", "/")[1]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


# -------------------------------------------------------------------- tokens, stops, bad starts


def test_a_token_is_wanted_and_sigterm_loses_nothing(saved):
    """Wrong or no token: 401. What was taken before SIGTERM is answered; then the end, with 0."""
    with serving(saved, "--token-env", "MAIL_TOKEN", MAIL_TOKEN="s3cret-token") as running:
        right = {"Authorization": "Bearer s3cret-token"}
        texts = {"texts": [NEW]}
        assert running.ask("/predict", texts)[0] == 401
        assert running.ask("/predict", texts, Authorization="Bearer s3cret-tokem")[0] == 401
        assert running.ask("/predict", texts, Authorization="Basic s3cret-token")[0] == 401
        status, told = running.ask("/v1/systemone", {}, Authorization="Bearer é")
        assert (status, told["detail"]["error_type"]) == (401, "authentication_error")
        assert running.send("GET", "/metrics")[0] == 401
        assert running.send("GET", "/health")[0] == 200
        assert running.ask("/predict", texts, **right)[0] == 200
        before = counted(running, **right)
        answers = _under_fire(running, right)
        status, log = running.stop()
    assert status == 0
    assert "s3cret" not in log
    accepted, answered = map(int, _numbers(log))
    assert accepted == answered
    assert set(answers) == {200, None}
    assert answered == before + answers.count(200)


def _under_fire(running, headers):
    """Send from eight threads until the service is gone; return statuses, None for no answer."""
    answers, started = [], threading.Event()

    def fire():
        while True:
            try:
                answers.append(running.ask("/predict", {"texts": [NEW]}, **headers)[0])
            except OSError:  # no longer taken
                answers.append(None)
                return
            if len(answers) > 40:
                started.set()

    threads = [threading.Thread(target=fire) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert started.wait(120)
    running.process.terminate()
    for thread in threads:
        thread.join(120)
    return answers


def _numbers(log):
    (line,) = [line for line in log.splitlines() if " stopped: " in line]
    words = line.split()
    return words[words.index("requests,") - 1], words[words.index("answers") - 1]


def _start(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "sklfusion.cli", "serve", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_under_load(service):
    """Forty in flight: only 200 and 429, and the slowest is not left behind."""
    from benchmarks.load.serve import figures, under_fire

    found = figures(*under_fire(service, 40, 3), 3)
    assert found["other"] == 0
    assert found["answers"] > 40
    assert found["memory_growth"] < 1.2
    assert found["p99"] < 20 * found["p50"]  # the line is 5, over a minute on a quiet machine


def test_a_port_in_use_is_told_in_a_line_with_status_1(service, saved):
    """Before the model is loaded."""
    done = _start(saved, "--port", service.port)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"loading {saved.name}" in done.stderr
    assert f"Port {service.port} of 127.0.0.1 is in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("fault", "word"), [("cut", "not a saved model"), ("future", "has format 99")]
)
def test_files_that_cannot_be_served(saved, tmp_path, fault, word):
    """The errors of loading come as they are, and the port is free again."""
    path = tmp_path / "bad.sklf"
    path.write_bytes(saved.read_bytes()[: -200 if fault == "cut" else None])
    if fault == "future":
        rewrite(path, manifest={"format": 99, "sha256": {}, "versions": {}})
    with pytest.raises(PersistenceError, match=word):
        serve_file(path, ServiceSettings(), port=0)


def test_an_address_that_is_not_ours(saved):
    """The system's word for it."""
    with pytest.raises(SklFusionError, match=r"Cannot listen at 192\.0\.2\.1"):
        serve_file(saved, ServiceSettings(), host="192.0.2.1", port=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "closed"},
        {"zero_shot": "m"},
        {"max_queue": 0},
        {"timeout": -1},
        {"batch_wait": -1},
    ],
)
def test_settings_out_of_range(wrong):
    """Told before a model is touched."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ServiceSettings(**wrong)


def test_a_token_that_is_not_set_is_an_error(monkeypatch):
    """Else nobody could call, or everybody."""
    monkeypatch.delenv("NO_SUCH_TOKEN", raising=False)
    with pytest.raises(SklFusionError, match="NO_SUCH_TOKEN"):
        ServiceSettings(token_env="NO_SUCH_TOKEN")


def test_what_cannot_be_served():
    """No probabilities, no service."""
    with pytest.raises(TypeError, match="TfidfVectorizer has not both"):
        create_app(TfidfVectorizer())


# ------------------------------------------------------------------------------- other models


def test_a_cascade_tells_whom_it_asked():
    """The first stage, the LLM where it was asked, the doubt; and it can be told not to ask."""
    first = make_pipeline(TfidfVectorizer(), LogisticRegression())
    recorded = RecordedScorer(dict(zip(TEXTS, LABELS, strict=True)))
    cascade = CascadeClassifier(first, recorded, strict=False, random_state=0).fit(TEXTS, LABELS)
    cascade.threshold_ = 0.2
    served = ServedModel(cascade)
    answers = served.answer(TEXTS[:6])
    asked = cascade.asks(TEXTS[:6])
    assert [a.asked for a in answers] == asked.tolist()
    np.testing.assert_allclose([a.proba for a in answers], cascade.predict_proba(TEXTS[:6]))
    for answer in answers:
        names = [source.name for source in answer.sources]
        assert names == (["first stage", "llm"] if answer.asked else ["first stage"])
    alone = served.answer(TEXTS[:6], ask=False)
    assert not any(a.asked for a in alone)
    np.testing.assert_allclose(
        [a.proba for a in alone], first.fit(TEXTS, LABELS).predict_proba(TEXTS[:6])
    )
    assert served.thresholds == {"ask_llm": 0.2}
    assert served.may_share_calls


def test_a_strict_budget_is_that_of_each_request():
    """Requests of a strict cascade do not share a call, and so not a budget."""
    first = make_pipeline(TfidfVectorizer(), LogisticRegression())
    recorded = RecordedScorer(dict(zip(TEXTS, LABELS, strict=True)))
    cascade = CascadeClassifier(first, recorded, budget=0.5, random_state=0).fit(TEXTS, LABELS)
    assert not ServedModel(cascade).may_share_calls


def test_several_labels_per_text():
    """Labels are a list, cut where the model cuts."""
    y = np.array([[1, 0], [0, 1]] * 15)
    names = ["mail", "junk"]
    vectors = make_pipeline(TfidfVectorizer(), TruncatedSVD(3, random_state=0))
    recorded = {text: [names[k]] for text, k in zip(TEXTS, y[:, 1], strict=True)}
    scorer = RecordedScorer(recorded, classes=names, multilabel=True)
    model = AutoFusionClassifier(scorer, vectors, classes=names, random_state=0).fit(TEXTS, y)
    served = ServedModel(model)
    assert served.multilabel
    assert list(served.thresholds) == ["label"]
    answers = served.answer(TEXTS[:4])
    assert [answer.label for answer in answers] == [["mail"], ["junk"]] * 2
    for source in answers[0].sources:
        assert source.says[0] > 0.5 > source.says[1]
        assert source.trust > 0


def test_strict_json():
    """A finite number is one, and depth is counted in the values."""
    assert parse_strict(b'{"a": [1.5, "\\u00e9"]}') == {"a": [1.5, "é"]}
    with pytest.raises(Refusal, match="deeper than 64"):
        parse_strict(b"[" * 65 + b"]" * 65)
    assert parse_strict(b"[" * 64 + b"]" * 64)
