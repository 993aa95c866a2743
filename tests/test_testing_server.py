"""The loopback endpoint: answers follow the rule, faults the seed, the ledger the truth."""

import gzip
import http.client
import json
import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from sklfusion.prompts import Task, render, render_pack, schema
from sklfusion.testing import (
    FaultServer,
    expected_billed,
    expected_label,
    expected_labels,
    text_digest,
)
from sklfusion.testing._answers import LOW_MULTI, answer, read_question
from sklfusion.testing._profiles import FAULT_KINDS, ScriptedFault, choose

LABELS = ("world", "sport", "food")


def request(text="a sport text", *, answer="label", task=None, **params):
    task = task or Task(LABELS)
    messages = [{"role": r, "content": c} for r, c in render(task, text, answer=answer)]
    return {"model": "m", "messages": messages, **params}


def post(server, body, *, timeout=10, headers=None):
    """Send one request on its own connection; return (status, headers, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers or {})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def content(server, body):
    status, _, data = post(server, body)
    assert status == 200
    return json.loads(data)["choices"][0]["message"]["content"]


# ------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("form", ["auto", "words", "ids"])
@pytest.mark.parametrize("form_schema", [False, True])
def test_every_form_of_question_gets_the_expected_answer(form, form_schema):
    """Labels and scores of all forms of prompt agree with the documented rule."""
    task = Task(LABELS, label_form=form, descriptions=("news: abroad", None, "eating"))
    for text in ("Sport and food", "nothing of that", "", "WORLD", "sporty"):
        wanted = expected_label(text, LABELS)
        for kind in ("label", "scores"):
            extra = {"response_format": schema(task, answer=kind)} if form_schema else {}
            said = answer(read_question(request(text, answer=kind, task=task, **extra)))
            if kind == "scores":
                scores = json.loads(said)
                assert sum(scores.values()) == pytest.approx(1, abs=1e-4)
                said = max(scores, key=scores.get)
            elif form_schema:
                said = json.loads(said)["label"]
            assert task.labels[task.keys.index(said)] == wanted


def test_several_labels_get_the_expected_answer():
    """Label sets, independent scores and yes-or-no questions agree with the rule."""
    task = Task(LABELS, multilabel=True)
    for text in ("Sport and food", "nothing of that"):
        wanted = expected_labels(text, LABELS)
        assert json.loads(answer(read_question(request(text, answer="set", task=task)))) == wanted
        scores = json.loads(answer(read_question(request(text, answer="scores", task=task))))
        assert [key for key, p in scores.items() if p > 0.5] == wanted
        assert min([*scores.values(), LOW_MULTI]) == LOW_MULTI
        for index, label in enumerate(LABELS):
            messages = render(task, text, answer="yes_no", label=index)
            body = {"messages": [{"role": r, "content": c} for r, c in messages]}
            assert answer(read_question(body)) == ("yes" if label in wanted else "no")


@pytest.mark.parametrize("multilabel", [False, True])
def test_several_texts_are_answered_by_id(multilabel):
    """A message with several texts gets the answer of each."""
    texts = {"id1": "sport and food", "id2": "nothing"}
    messages = render_pack(Task(LABELS, multilabel=multilabel), texts)
    body = {"messages": [{"role": r, "content": c} for r, c in messages]}
    expected = expected_labels if multilabel else expected_label
    said = json.loads(answer(read_question(body)))
    assert said == {name: expected(text, LABELS) for name, text in texts.items()}


def test_labels_of_other_prompts_are_found():
    """A schema or a bracketed list is enough, so other libraries can be tried too."""
    listed = {"messages": [{"role": "user", "content": "One of ['a b', 'c']: text with C"}]}
    assert answer(read_question(listed)) == "c"
    enum = {
        "type": "json_schema",
        "json_schema": {"schema": {"properties": {"x": {"enum": ["c"]}}}},
    }
    assert answer(read_question({"messages": [], "response_format": enum})) == '{"x": "c"}'


def test_log_probabilities_sum_to_one(fault_server):
    """The first token spreads over the labels; its mass is that of the scores."""
    body = request(logprobs=True, top_logprobs=5, max_completion_tokens=1)
    choice = json.loads(post(fault_server, body)[2])["choices"][0]
    top = choice["logprobs"]["content"][0]["top_logprobs"]
    assert sum(math.exp(entry["logprob"]) for entry in top) == pytest.approx(1, abs=1e-6)
    assert top[0]["token"] == "sport"
    assert math.exp(top[0]["logprob"]) == pytest.approx(0.98 * 0.9)


def test_an_answer_that_does_not_fit_is_cut(fault_server):
    """max_completion_tokens holds, and the finish reason says so."""
    body = request("x", answer="scores", max_completion_tokens=3)
    choice = json.loads(post(fault_server, body)[2])["choices"][0]
    assert choice["finish_reason"] == "length"
    assert len(choice["message"]["content"]) < 20


def test_several_choices_are_billed_as_such(fault_server):
    """n choices are n times the completion tokens, and the ledger agrees with the usage."""
    value = json.loads(post(fault_server, request(n=3))[2])
    ledger = fault_server.ledger()
    assert len(value["choices"]) == 3
    assert ledger.completion_tokens == value["usage"]["completion_tokens"] == 3
    assert ledger.prompt_tokens == value["usage"]["prompt_tokens"]


# -------------------------------------------------------------------------------------- faults

ONE_OF_EACH = {
    "status": {"status": 429, "headers": {"Retry-After": "2"}},
    "hang": {"seconds": 0.01},
    "late": {"seconds": 0.01},
    "drip": {"bytes": 100, "seconds": 0.001},
    "drip_head": {"seconds": 0.01, "until": 0.1},
    "informational": {"seconds": 0.01, "until": 0.1},
    "packed": {"bytes": 2_000_000},
    "body": {"body": "<html>"},
    "big": {"bytes": 2_000_000},
    "gzip_bomb": {"bytes": 2_000_000},
    "many_headers": {"count": 50},
    "content": {"content": None},
    "merge": {"fields": {"choices": {"0": {"finish_reason": "length"}}}},
}


@pytest.mark.parametrize("kind", list(FAULT_KINDS))
def test_every_fault_is_what_it_says(fault_server, kind):
    """Each kind reaches the client as described and stands in the ledger as paid or not."""
    fault_server.script({"fault": {"kind": kind, **ONE_OF_EACH.get(kind, {})}, "attempts": [1]})
    try:
        status, headers, data = post(fault_server, request())
    except (ConnectionError, http.client.HTTPException):
        status = None
    broken = kind in ("reset", "hang", "reset_body", "short", "chunked", "drip_head")
    assert broken == (status is None)
    fault = ScriptedFault(kind)
    ledger = fault_server.ledger()
    assert ledger.injected == {kind: 1}
    assert ledger.billed == fault.is_billed
    assert ledger.usable == fault.is_usable
    if kind == "status":
        assert (status, headers["Retry-After"]) == (429, "2")
    elif status is not None:
        assert status == (103 if kind == "informational" else 200)
    if kind in ("late", "drip", "close"):
        assert json.loads(data)["choices"][0]["message"]["content"] == "sport"
    if kind == "gzip_bomb":
        assert len(gzip.decompress(data)) == 2_000_000
    if kind == "merge":
        assert json.loads(data)["choices"][0]["finish_reason"] == "length"
    assert content(fault_server, request()) == "sport"  # the second attempt is fine


@pytest.mark.parametrize("profile", ["free20", "mixed20", "mixed50"])
def test_faults_do_not_depend_on_the_order(fault_server, profile):
    """Totals are the same for any order and number of threads, and can be computed beforehand."""
    texts = [f"text {n} about sport" for n in range(60)]

    def ask(text):
        for _ in range(4):
            try:
                status, _, data = post(fault_server, request(text))
                if status == 200 and '"content": "sport"' in data.decode():
                    json.loads(data)
                    return True
            except (ConnectionError, http.client.HTTPException, ValueError):
                pass
        return False

    seen = []
    for threads, order in ((1, texts), (8, texts[::-1])):
        fault_server.reset(profile=profile, seed=3)
        with ThreadPoolExecutor(threads) as pool:
            assert all(pool.map(ask, order))
        ledger = fault_server.ledger()
        seen.append((ledger.received, ledger.billed, ledger.injected_billed))
        assert ledger.usable == ledger.distinct == 60
        assert ledger.avoidable == 0
        assert ledger.unavoidable == ledger.injected_billed
    assert seen[0] == seen[1] == expected_billed(profile, 3, [text_digest(t) for t in texts])


def test_profiles_keep_their_rate():
    """About a fifth of the first attempts of mixed20 fails, and no fourth attempt does."""
    digests = [text_digest(str(n)) for n in range(2000)]
    failing = sum(choose("mixed20", 1, digest, 1) is not None for digest in digests)
    assert 0.17 < failing / 2000 < 0.23
    assert all(choose("mixed50", 1, digest, 4) is None for digest in digests)


def test_rules_choose_by_text_attempt_number_and_place(fault_server):
    """Conditions of a rule can be combined; the first rule that applies counts."""
    refuse = {"kind": "status", "status": 400}
    fault_server.script(
        {"contains": "good", "fault": None},
        {"contains": "bad", "fault": refuse},
        {"outside": "MARK", "fault": {"kind": "status", "status": 418}},
        {"after": 4, "times": 1, "fault": {"kind": "status", "status": 503}},
    )
    texts = ["good bad", "bad", "MARK in the text", "plain", "plain", "plain"]
    statuses = [post(fault_server, request(text))[0] for text in texts]
    assert statuses == [200, 400, 200, 200, 503, 200]
    body = request("x")
    body["messages"][0]["content"] += " MARK"
    assert post(fault_server, body)[0] == 418


def test_a_second_payment_after_a_delivered_reply_is_avoidable(fault_server):
    """The same request again is counted; another request about the same text is not."""
    post(fault_server, request())
    post(fault_server, request(temperature=1))
    assert fault_server.ledger().avoidable == 0
    post(fault_server, request())
    assert fault_server.ledger().avoidable == 1
    assert fault_server.ledger().distinct == 1


def test_a_late_answer_nobody_waits_for_is_paid_and_not_delivered(fault_server):
    """Held past the patience of the client: billed, not delivered, so the next is unavoidable."""
    fault_server.script({"fault": {"kind": "late", "seconds": 5}, "attempts": [1]})
    with pytest.raises(TimeoutError):
        post(fault_server, request(), timeout=2)
    end = time.monotonic() + 60
    while fault_server.ledger().in_flight and time.monotonic() < end:
        time.sleep(0.02)
    post(fault_server, request())
    ledger = fault_server.ledger()
    assert (ledger.billed, ledger.delivered) == (2, 1)
    assert (ledger.avoidable, ledger.unavoidable) == (0, 1)


def test_an_outage_refuses_and_ends(fault_server):
    """Connections are refused for the time asked, then served on the same port."""
    fault_server.outage(3)
    refused = 0
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            post(fault_server, request())
            if refused:
                break
        except ConnectionError:
            refused += 1
        time.sleep(0.02)
    assert refused
    assert fault_server.ledger().usable >= 1


def test_gates_hold_for_everybody(fault_server):
    """A wrong key, a storm and a rate limit refuse any text, without billing."""
    fault_server.reset(key_sha256=text_digest("secret"))
    assert post(fault_server, request())[0] == 401
    assert post(fault_server, request(), headers={"Authorization": "Bearer secret"})[0] == 200
    fault_server.reset(storms=[{"after": 1, "seconds": 60}])
    assert post(fault_server, request())[0] == 200
    status, headers, _ = post(fault_server, request("other"))
    assert status == 429
    assert 59_000 < float(headers["retry-after-ms"]) <= 60_000
    fault_server.reset(limit_rps=2)
    assert sorted(post(fault_server, request(str(n)))[0] for n in range(4))[-2:] != [200, 200]
    assert fault_server.ledger().billed < 4


def test_only_names_of_headers_are_kept(fault_server):
    """The ledger never holds a key."""
    post(fault_server, request(), headers={"Authorization": "Bearer sk-canary"})
    ledger = fault_server.ledger(events=True)
    assert "authorization" in ledger.header_names
    assert "sk-canary" not in json.dumps(vars(ledger))


def test_wrong_settings_are_refused(fault_server):
    """A spelling mistake in a script is an error, not a test that tests nothing."""
    with pytest.raises(ValueError, match="unknown fault 'resett'"):
        fault_server.script({"fault": {"kind": "resett"}})
    with pytest.raises(ValueError, match="unknown profile"):
        fault_server.reset(profile="mixed")
    with pytest.raises(ValueError, match="colour"):
        fault_server.reset(colour="blue")


# --------------------------------------------------------------------------------------- batch


def call(server, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        return connection.getresponse().read()
    finally:
        connection.close()


def test_a_batch_is_answered_after_some_polls(fault_server):
    """Upload, create, poll, read results and errors, keyed by custom_id."""
    refused = {"kind": "status", "status": 400}
    fault_server.script({"contains": "bad", "fault": refused})
    lines = "".join(
        json.dumps({"custom_id": t, "method": "POST", "body": request(t)}) + "\n"
        for t in ("sport", "bad", "food")
    )
    form = (
        '--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        '--B\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
        f"{lines}\r\n--B--\r\n"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=B"}
    file = json.loads(call(fault_server, "POST", "/v1/files", form, kind))
    asked = {
        "input_file_id": file["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    batch = json.loads(call(fault_server, "POST", "/v1/batches", json.dumps(asked)))
    states = []
    while batch["status"] != "completed":
        batch = json.loads(call(fault_server, "GET", f"/v1/batches/{batch['id']}"))
        states.append(batch["status"])
    assert states == ["in_progress", "completed"]
    assert batch["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    results = {}
    for name in (batch["output_file_id"], batch["error_file_id"]):
        for line in call(fault_server, "GET", f"/v1/files/{name}/content").splitlines():
            value = json.loads(line)
            results[value["custom_id"]] = value["response"]
    assert results["bad"]["status_code"] == 400
    assert results["food"]["body"]["choices"][0]["message"]["content"] == "food"
    assert fault_server.ledger().billed == 2


# ------------------------------------------------------------------------------------- process


def test_the_server_ends_with_its_parent():
    """No server outlives a test run that was killed."""
    code = (
        "from sklfusion.testing import FaultServer\n"
        "import time\n"
        "print(FaultServer().start().process.pid, flush=True)\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    server = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            os.kill(server, 0)
            with open(f"/proc/{server}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.05)
    pytest.fail("the server is still there")


def test_start_is_fast_and_light():
    """The server imports neither numpy nor scikit-learn, so it starts in a moment."""
    code = "import sys, sklfusion.testing.server; print('numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_servers_can_be_started_and_stopped_again():
    """The port stays, the ledger begins anew."""
    server = FaultServer()
    with server:
        port = server.port
        post(server, request())
    with server:
        assert server.port == port
        assert server.ledger().received == 0
