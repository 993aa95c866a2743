"""The wire: deadlines, sizes, whose bytes they are, and what goes to whom."""

import hashlib
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import psutil
import pytest
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from sklfusion import (
    AuthenticationError,
    BudgetExceededError,
    CascadeClassifier,
    LabelDistributionCollector,
    LLMClassifier,
    LLMEndpoint,
    LLMScorer,
    make_fusion_pipeline,
)
from sklfusion.llm._address import parse_address
from sklfusion.llm._keylike import is_secret_name, looks_like_key, secret_in_variable
from sklfusion.llm.endpoints import resolve_endpoint
from sklfusion.testing import FaultServer, expected_label

CLASSES = ["sport", "food"]
# Long enough that a busy machine is not taken for a slow endpoint.
GENEROUS = 20.0


def settings(server, **params):
    """Where to ask, as parameters of a scorer or of an endpoint."""
    return {"base_url": server.base_url, "timeout": GENEROUS, "deadline": 60.0, **params}


def scorer(server, **params):
    """A fitted scorer on a server."""
    own = {"classes": CLASSES, "strategy": "label", **settings(server, **params)}
    return LLMScorer("m", **own).fit(["any"])


def rule(kind, contains="", **options):
    """A rule of the server's script."""
    return {"fault": {"kind": kind, **options}, "contains": contains}


def sha256(value):
    """The digest under which the server's ledger knows a header."""
    return hashlib.sha256(value.encode()).hexdigest()


class TestDeadline:
    """`deadline` bounds everything that an endpoint can do."""

    @pytest.mark.parametrize(
        "fault",
        [
            {"kind": "drip_head", "seconds": 0.2},
            {"kind": "informational", "seconds": 0.2},
            {"kind": "informational", "seconds": 0.0},
            {"kind": "drip", "bytes": 1, "seconds": 0.2},
        ],
        ids=["head", "1xx", "1xx at once", "body"],
    )
    def test_drips_end(self, fault_server, fault):
        """Every single read is quick, and yet there is an end, for this text alone."""
        fault_server.script({"fault": fault, "contains": "slow"})
        asked = scorer(fault_server, deadline=4.0)
        start = time.monotonic()
        with pytest.warns(UserWarning, match="no usable answer"):
            answers = asked.annotate(["slow sport", "food"])
        assert answers.ok.tolist() == [False, True]
        assert 3.5 < time.monotonic() - start < 4 + GENEROUS / 2

    def test_a_handshake_ends(self):
        """A port that accepts and says nothing is no reason to wait for ever."""
        import socket

        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"https://127.0.0.1:{silent.getsockname()[1]}/v1"
            asked = LLMScorer(
                "m", classes=CLASSES, base_url=url, strategy="label", deadline=2.0
            ).fit(["any"])
            start = time.monotonic()
            with pytest.raises(Exception, match="reach"):
                asked.annotate(["sport"])
            assert time.monotonic() - start < 2 + GENEROUS / 2

    @pytest.mark.parametrize("kind", ["drip_head", "informational", "hang", "drip"])
    def test_interrupts_do_not_wait(self, fault_server, tmp_path, kind):
        """Ctrl-C ends within 2 s; what had arrived is saved."""
        fault_server.script({"fault": {"kind": kind, "seconds": 0.3}, "contains": "slow"})
        code = f"""
            import signal, sys, threading, time
            from sklfusion import LLMScorer
            # a shell that starts us in the background ignores it for its children
            signal.signal(signal.SIGINT, signal.default_int_handler)
            s = LLMScorer("m", classes={CLASSES}, strategy="label", calibrate=False,
                          base_url={fault_server.base_url!r}, timeout=60.0, deadline=120.0,
                          memory={str(tmp_path)!r}, max_concurrency=4).fit(["any"])
            print("ready", flush=True)
            try:
                s.annotate(["good sport", "slow one", "slow two"])
            except KeyboardInterrupt:
                print("interrupted", time.time(), flush=True)
        """
        child = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert child.stdout.readline().strip() == "ready"
            end = time.monotonic() + 60
            while fault_server.ledger().received < 3 or fault_server.ledger().usable < 1:
                assert time.monotonic() < end, "the requests never came"
                time.sleep(0.1)
            sent = time.time()
            child.send_signal(signal.SIGINT)
            word, at = child.stdout.readline().split()
            assert word == "interrupted"
            assert float(at) - sent < 2.0
            assert child.wait(timeout=GENEROUS) == 0
        finally:
            child.kill()
            child.stdout.close()
        recalled = scorer(fault_server, memory=str(tmp_path), cache_only=True)
        assert recalled.annotate(["good sport"]).ok.all()


class TestSize:
    """What a reply unpacks to is bounded, however it is packed."""

    @pytest.mark.parametrize("status", [200, 500])
    @pytest.mark.parametrize(
        "encodings",
        [["gzip"], ["gzip", "gzip"], ["deflate", "gzip"], ["gzip"] * 20, ["br"], ["gzip", "zstd"]],
        ids=" ".join,
    )
    def test_bombs(self, fault_server, encodings, status):
        """200 MB of blanks make a row without an answer, not 200 MB of memory."""
        size = 200_000_000 if len(encodings) < 3 else 1_000
        packed = rule("packed", "bomb", bytes=size, encodings=encodings, status=status)
        fault_server.script(packed)
        scorer(fault_server).annotate(["sport"])
        # A status of 500 is asked again until the deadline.
        asked = scorer(fault_server, deadline=3.0 if status == 500 else GENEROUS)
        process = psutil.Process()
        before = process.memory_info().rss
        with pytest.warns(UserWarning, match="no usable answer"):
            answers = asked.annotate(["bomb sport"])
        assert not answers.ok.any()
        assert (process.memory_info().rss - before) / 2**20 < 100

    def test_an_honest_packing_is_read(self):
        """Packed although nobody asked for it, once or twice, in one piece or in two."""
        import gzip
        import zlib
        from types import SimpleNamespace

        from sklfusion.llm._wire import read_body

        body = b'{"choices": []}' * 5000
        raw = zlib.compressobj(wbits=-15)
        bare = raw.compress(body) + raw.flush()
        forms = {
            "gzip": gzip.compress(body),
            "deflate": zlib.compress(body),
            "Deflate": bare,
            "gzip, gzip": gzip.compress(gzip.compress(body)),
            "identity, gzip": gzip.compress(body[:7]) + gzip.compress(body[7:]),
            "": body,
        }
        for names, data in forms.items():
            for step in (1, 1000, len(data)):
                chunks = [data[n : n + step] for n in range(0, len(data), step)]
                stream = SimpleNamespace(spoil=lambda: None)
                response = SimpleNamespace(
                    headers={"content-encoding": names},
                    stream=chunks,
                    extensions={"network_stream": stream},
                )
                assert read_body(response, 1 << 20) == body, (names, step)


class TestConnections:
    """A connection is used again only where nothing but the reply came."""

    def test_connections_are_reused(self, fault_server):
        """Otherwise every request would pay for a handshake."""
        asked = scorer(fault_server, max_concurrency=1, timeout=GENEROUS + 0.1)
        before = fault_server.ledger().connections
        asked.annotate([f"sport {n}" for n in range(20)])
        ledger = fault_server.ledger()
        # The questions about the ledger come over connections of their own.
        assert ledger.connections - before <= 3

    @pytest.mark.parametrize(
        "fault",
        [
            {"kind": "stray", "content": "food"},
            {"kind": "trailing", "body": "rest"},
            {"kind": "trailing", "body": "\r\n\r\nHTTP/1.1 200 OK\r\n"},
        ],
        ids=["reply", "bytes", "half a head"],
    )
    def test_what_came_unasked_answers_nothing(self, fault_server, tmp_path, fault):
        """Five texts, five right answers, none of them from the rest of the one before."""
        fault_server.script({"fault": fault})
        X = [f"sport {n}" for n in range(5)]
        asked = scorer(fault_server, max_concurrency=1, memory=str(tmp_path))
        answers = asked.annotate(X)
        assert answers.labels().tolist() == [expected_label(t, CLASSES) for t in X]
        ledger = fault_server.ledger()
        assert (ledger.received, asked.usage_.unknown) == (5, 0)


class TestEnvironment:
    """Of the environment goes what the user named, where the user named it."""

    def test_the_client_library_adds_nothing(self, fault_server, monkeypatch):
        """Headers, organisation and project of the SDK stay at home, whatever they say."""
        headers = "X-Canary: canary\nAuthorization: Bearer canary\nHost: canary\nContent-Length: 1"
        monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", headers)
        for name in ("ORG_ID", "PROJECT_ID", "API_KEY", "BASE_URL", "ADMIN_KEY"):
            monkeypatch.setenv(f"OPENAI_{name}", "canary")
        # A timeout of its own makes a client of its own, which reads the environment anew.
        answers = scorer(fault_server, timeout=19.0).annotate(["sport"])
        assert answers.ok.all()
        assert set(fault_server.ledger().header_names) <= {
            *("accept", "accept-encoding", "connection", "host", "user-agent"),
            *("content-length", "content-type"),
        }

    def test_organisation_and_project_go_to_openai_alone(self, monkeypatch):
        """They are names of OpenAI's."""
        from sklfusion.llm.endpoints import secret_headers

        for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_API_KEY", "XAI_API_KEY"):
            monkeypatch.setenv(name, f"value-of-{name}")
        sent = secret_headers(resolve_endpoint("openai/x")[0])
        assert sent["OpenAI-Organization"] == "value-of-OPENAI_ORG_ID"
        assert sent["OpenAI-Project"] == "value-of-OPENAI_PROJECT_ID"
        assert secret_headers(resolve_endpoint("xai/x")[0]) == {
            "Authorization": "Bearer value-of-XAI_API_KEY"
        }
        other = resolve_endpoint("m", "https://api.openai.com.example/v1", "OPENAI_API_KEY")[0]
        assert set(secret_headers(other)) == {"Authorization"}

    def test_headers_by_name_of_a_variable(self, fault_server, monkeypatch):
        """Read when a request is sent; the values are nowhere else."""
        monkeypatch.setenv("GATEWAY_KEY", "canary-of-gateway")
        endpoint = LLMEndpoint(
            "m",
            **settings(fault_server),
            headers_env={"api-key": "GATEWAY_KEY"},
            query={"api-version": "2024-10-21"},
        )
        asked = LLMScorer(endpoint, classes=CLASSES, strategy="label").fit(["any"])
        assert asked.annotate(["sport"]).ok.all()
        ledger = fault_server.ledger()
        assert ledger.header_sha256["api-key"] == [sha256("canary-of-gateway")]
        assert "authorization" not in ledger.header_names
        assert "/v1/chat/completions?api-version=2024-10-21" in ledger.paths
        places = repr(asked) + asked._repr_html_() + str(pickle.dumps(asked))
        assert "canary" not in places
        monkeypatch.delenv("GATEWAY_KEY")
        with pytest.raises(AuthenticationError, match=r"GATEWAY_KEY is not set.*'api-key'"):
            asked.annotate(["food"])

    def test_azure(self, fault_server, monkeypatch):
        """A dated version has the deployment in its path; the key is in api-key."""
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-canary")
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", fault_server.origin + "/")
        old = LLMEndpoint("azure/my gpt", query={"api-version": "2024-10-21"})
        new = LLMEndpoint("azure/my-gpt")
        for endpoint, path in (
            (old, "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21"),
            (new, "/openai/v1/chat/completions"),
        ):
            fault_server.reset()
            asked = LLMScorer(endpoint, classes=CLASSES, strategy="label").fit(["any"])
            assert asked.annotate(["sport"]).ok.all()
            ledger = fault_server.ledger()
            assert path in ledger.paths
            assert ledger.header_sha256["api-key"] == [sha256("azure-canary")]
            assert "authorization" not in ledger.header_names
        monkeypatch.delenv("AZURE_OPENAI_ENDPOINT")
        with pytest.raises(ValueError, match="AZURE_OPENAI_ENDPOINT"):
            resolve_endpoint("azure/x")
        root = "https://r.openai.azure.com"
        assert resolve_endpoint("azure/x", root)[0].origin == root + "/openai/v1"
        # A gateway may call its own models so.
        assert resolve_endpoint("azure/x", "http://127.0.0.1:4000")[1] == "azure/x"

    def test_replies_of_two_queries_are_told_apart(self, fault_server, tmp_path):
        """What goes along with the address is part of the question."""
        for version in ("1", "2", "2"):
            asked = scorer(
                fault_server,
                base_url=f"{fault_server.base_url}?api-version={version}",
                memory=str(tmp_path),
            )
            asked.annotate(["sport"])
        assert fault_server.ledger().received == 2


SECRET_URLS = [
    "http://user:canary1@h/v1",
    "http://user:ca/nary1@h/v1",
    "user:canary1@h/v1",
    "https//user:canary1@h",
    "http://h/v1?api-key=canary1",
    "http://h/v1?sig=canary1",
    "http://h/v1?X-Amz-Signature=canary1",
    "http://h/v1?x=sk-canary1",
    "http://h/v1#sk-canary1",
    "http://h/sk-canary1/v1",
    "http://user:canary1@h:99999/v1",
    "http://user:canary1@h\0/v1",
]
SECRET_NAMES = [
    "sk-canary1",
    "sk-proj-canary1",
    "gsk_canary1abcdef",
    "hf_canary1abcdef",
    "AIzacanary1abcdef",
    "canary1 with spaces",
    "canary1/abc+def==",
    "canary1aB3dE5fG7hI9jK1lM3nO5pQ7",
]


class TestKeys:
    """Keys are no parameters: what looks like one is not kept."""

    @pytest.mark.parametrize("kind", [LLMScorer, LLMClassifier, LLMEndpoint])
    @pytest.mark.parametrize(
        ("name", "value"),
        [("base_url", u) for u in SECRET_URLS]
        + [("api_key_env", n) for n in SECRET_NAMES]
        + [("request_params", {"extra_headers": {"Authorization": "canary1"}})],
    )
    def test_nothing_shows_them(self, kind, name, value):
        """Neither repr, HTML, pickle, clone nor the error of fit."""
        asked = kind("m", **{name: value})
        nested = make_pipeline(LLMScorer(asked) if kind is LLMEndpoint else asked)
        for thing in (asked, clone(asked), nested, kind("m").set_params(**{name: value})):
            shown = repr(thing) + thing._repr_html_() + str(thing.get_params())
            assert "anary1" not in shown
            assert b"anary1" not in pickle.dumps(thing)
        if kind is LLMEndpoint:
            asked = LLMScorer(asked)
        with pytest.raises(ValueError, match=name) as caught:
            asked.set_params(classes=CLASSES).fit(["any"])
        assert "anary1" not in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("headers_env", {"api-key": "sk-canary1"}),
            ("headers_env", {"api-key": "canary1 of spaces"}),
            ("query", {"api-key": "canary1"}),
            ("query", {"x": "sk-canary1"}),
        ],
    )
    def test_nor_those_of_an_endpoint_alone(self, name, value):
        """Headers and queries take no secrets either."""
        endpoint = LLMEndpoint("m", base_url="http://127.0.0.1:1/v1", **{name: value})
        assert "anary1" not in repr(endpoint) + str(pickle.dumps(endpoint))
        with pytest.raises(ValueError, match=name) as caught:
            LLMScorer(endpoint, classes=CLASSES).fit(["any"])
        assert "anary1" not in str(caught.value)

    def test_the_value_of_a_variable_is_no_name(self, monkeypatch):
        """The usual slip: os.environ["X"] where "X" was meant."""
        monkeypatch.setenv("MY_API_KEY", "plainwordkey")
        asked = LLMScorer("m", api_key_env=os.environ["MY_API_KEY"])
        assert "plainwordkey" not in repr(asked)
        assert secret_in_variable("MY_API_KEY") is None

    @pytest.mark.parametrize(
        "name",
        ["OPENAI_API_KEY", "HF_TOKEN", "MY_KEY_2024_11_30", "AzureOpenAIKeyOfTheTeam", "k", "_x1"],
    )
    def test_usual_names_are_names(self, name):
        """The guard is not in the way of anyone."""
        assert secret_in_variable(name) is None

    def test_usual_words_are_no_keys(self):
        """Model names and parameters of addresses."""
        for name in ("api-version", "deployment", "region", "keyboard", "monkey", "author"):
            assert not is_secret_name(name), name
        for word in ("gpt-5-nano", "sklearn", "claude-sonnet", "2024-10-21", "task"):
            assert not looks_like_key(word), word


class TestAddresses:
    """What cannot be an address is refused in fit, once and clearly."""

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "h/v1",
            "ftp://h/v1",
            "http://",
            "http://h\0st/v1",
            "http://h st/v1",
            " http://h/v1\n",
            "http://h/" + "p" * 5000,
            "http://" + "a" * 300 + ".com/v1",
            "http://" + "a." * 200 + "com/v1",
            "http://h:0/v1",
            "http://h:65536/v1",
            "http://h:-1/v1",
            "http://h:port/v1",
            "http://h:/v1",
            "http://::1/v1",
            "http://::1:8000/v1",
            "http://[::1/v1",
            "http://[zz]/v1",
            "http://256.1.1.1/v1",
            "http://.h/v1",
            "http://a..b/v1",
            "http://-a/v1",
            "http://x\u2024y/v1",
            "http://h\\v1",
            "http://h/v1#part",
            b"http://h/v1",
            5,
        ],
    )
    def test_refused(self, url):
        """One ValueError that names the parameter."""
        with pytest.raises(ValueError, match="base_url"):
            LLMScorer("m", classes=CLASSES, base_url=url).fit(["any"])

    @pytest.mark.parametrize(
        ("url", "origin"),
        [
            ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1"),
            ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
            ("https://my_host-1.example./v1", "https://my_host-1.example./v1"),
            ("https://b\u00fccher.example/v1", "https://xn--bcher-kva.example/v1"),
            ("https://h/a%20b/@cf/v1", "https://h/a%20b/@cf/v1"),
        ],
    )
    def test_accepted(self, url, origin):
        """Addresses in use."""
        assert parse_address(url) == (origin, ())

    def test_queries_that_disagree(self):
        """Nothing that was set is dropped."""
        url = "http://h/v1?api-version=1"
        with pytest.raises(ValueError, match="api-version"):
            resolve_endpoint("m", url, query={"api-version": "2"})
        both = resolve_endpoint("m", url, query={"api-version": "1", "x": 2})[0]
        assert both.query == (("api-version", "1"), ("x", "2"))

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("headers_env", ["api-key"]),
            ("headers_env", {"api key": "X"}),
            ("headers_env", {"Host": "X"}),
            ("headers_env", {"api-key": None}),
            ("query", "api-version=1"),
            ("query", {"a": None}),
            ("query", {"": "x"}),
            ("api_key_env", ""),
            ("request_params", {"extra_query": {"api-version": "1"}}),
            ("request_params", {"messages": []}),
            ("request_params", {"model": "other"}),
            ("request_params", {"stream": True}),
            ("request_params", ["seed"]),
            ("max_concurrency", 1.5),
            ("timeout", 0),
            ("timeout", "60"),
            ("deadline", float("nan")),
            ("requests_per_minute", -1),
            ("service", "soon"),
            ("budget", {"euros": 1}),
            ("prices", "cheap"),
        ],
    )
    def test_settings_that_cannot_be(self, name, value):
        """Refused in fit, with the parameter's name."""
        endpoint = LLMEndpoint("m", base_url="http://127.0.0.1:1/v1", **{name: value})
        with pytest.raises(ValueError, match=name):
            LLMScorer(endpoint, classes=CLASSES).fit(["any"])


class TestEndpointObject:
    """LLMEndpoint goes wherever a model string goes."""

    def test_it_is_an_estimator(self):
        """Parameters, nested parameters, clone, pickle."""
        endpoint = LLMEndpoint("m", base_url="http://127.0.0.1:1/v1", budget={"requests": 3})
        asked = LLMScorer(endpoint, classes=CLASSES)
        assert asked.get_params()["model__budget"] == {"requests": 3}
        twin = clone(asked).set_params(model__timeout=1.0)
        assert (twin.model.timeout, endpoint.timeout) == (1.0, 60.0)
        again = pickle.loads(pickle.dumps(asked))
        assert again.model.get_params() == endpoint.get_params()
        assert "LLMEndpoint(base_url='http://127.0.0.1:1/v1'" in repr(endpoint)

    def test_one_place_only(self):
        """A setting beside an endpoint is an error, not dropped."""
        endpoint = LLMEndpoint("m", base_url="http://127.0.0.1:1/v1")
        with pytest.raises(ValueError, match=r"LLMEndpoint.*timeout=, budget=|budget=.*timeout="):
            LLMScorer(endpoint, classes=CLASSES, timeout=5.0, budget={"requests": 1}).fit(["any"])
        LLMScorer(endpoint, classes=CLASSES, timeout=60.0).fit(["any"])

    def test_its_settings_hold(self, fault_server):
        """Model, further fields, price and budget are those of the endpoint."""
        fault_server.reset(keep_bodies=True)
        endpoint = LLMEndpoint(
            "my-model",
            **settings(fault_server),
            request_params={"seed": 7},
            prices=(1e6, 1e6),
            budget={"requests": 2},
        )
        asked = LLMClassifier(endpoint, classes=CLASSES, strategy="label").fit(["any"])
        assert asked.predict(["sport", "food"]).tolist() == CLASSES
        body = fault_server.ledger(events=True).bodies[0]
        assert (body["model"], body["seed"]) == ("my-model", 7)
        assert asked.usage_.cost > 0
        with pytest.raises(BudgetExceededError, match="requests"):
            asked.predict(["sport 2"])

    def test_estimators_share_its_budget_and_usage(self, fault_server):
        """One account for all that are given the same object; a clone has its own."""
        endpoint = LLMEndpoint("m", **settings(fault_server), budget={"requests": 5})
        one, two = (
            LLMScorer(endpoint, classes=CLASSES, strategy="label").fit(["any"]) for _ in range(2)
        )
        one.transform(["sport 1", "sport 2", "sport 3"])
        two.transform(["food 1", "food 2"])
        assert (one.usage_.requests, two.usage_.requests, endpoint.usage_.requests) == (3, 2, 5)
        for asked in (one, two):
            with pytest.raises(BudgetExceededError):
                asked.transform(["sport 9"])
        assert clone(endpoint).usage_.requests == 0
        assert clone(one).fit(["any"]).transform(["sport 9"]).shape == (1, 2)
        assert pickle.loads(pickle.dumps(one)).model.usage_.requests == 5
        assert fault_server.ledger().received == 6

    def test_in_pipelines_and_cascades(self, fault_server):
        """Whoever takes a model string makes a scorer of it, and shares it."""
        endpoint = LLMEndpoint("m", **settings(fault_server))
        X = [f"{word} {n}" for n in range(12) for word in CLASSES]
        y = [word for _ in range(12) for word in CLASSES]
        pipe = make_fusion_pipeline(None, endpoint, classes=CLASSES)
        assert pipe.get_params()["features__llm__model__base_url"] == fault_server.base_url
        first = make_pipeline(CountVectorizer(analyzer="char"), MultinomialNB())
        cascade = CascadeClassifier(first, endpoint, random_state=0).fit(X, y)
        assert cascade.predict(["sport again"]).tolist() == ["sport"]
        assert endpoint.usage_.requests == fault_server.ledger().received > 0
        collector = LabelDistributionCollector(LLMScorer(endpoint, classes=CLASSES))
        assert collector.calls_per_text() == 3


def test_tls_holds_to_the_deadline_too(tmp_path, monkeypatch):
    """Drips inside an encrypted connection, and reuse of one."""
    import trustme

    ca = trustme.CA()
    cert = ca.issue_cert("127.0.0.1")
    paths = [tmp_path / name for name in ("ca.pem", "key.pem", "chain.pem")]
    ca.cert_pem.write_to_path(paths[0])
    cert.private_key_pem.write_to_path(paths[1])
    for number, blob in enumerate(cert.cert_chain_pems):
        blob.write_to_path(paths[2], append=number > 0)
    monkeypatch.setenv("SSL_CERT_FILE", str(paths[0]))
    with FaultServer(certfile=paths[2], keyfile=paths[1]) as server:
        server.script(rule("drip_head", "slow", seconds=0.2))
        asked = scorer(server, max_concurrency=1, deadline=4.0)
        assert asked.annotate([f"sport {n}" for n in range(5)]).ok.all()
        with pytest.warns(UserWarning, match="no usable answer"):
            answers = asked.annotate(["slow sport", "food"])
        np.testing.assert_array_equal(answers.ok, [False, True])
