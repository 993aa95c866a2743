"""R: replies that are well-formed HTTP but wrong. I: texts."""

import json
import time

from benchmarks.load._peer_libraries import CLASSES
from benchmarks.load._peer_rows._base import (
    fault,
    row,
    says,
    status,
    texts,
)


@row("R01", "JSON in a fence, JSON after prose", "read")
def _(d):
    if d.lib.name == "sklfusion":
        value, options = '{"sport": 0.8, "food": 0.2}', {"strategy": "probabilities"}
    else:
        value, options = d.lib.say("sport"), {}
    X = says(d, [value, f"```json\n{value}\n```", f"Here it is: {value}"])
    d.all_right(X, **options)
    return "3 forms read"


@row("R04", "label in capitals, with spaces, in full width", "read as the label")
def _(d):
    forms = ["SPORT", " sport ", "\uff53\uff50\uff4f\uff52\uff54", "Sport."]
    X = says(d, [d.lib.say(form) for form in forms])
    labels = d.run(X)
    lost = [form for form, label in zip(forms, labels, strict=True) if label != "sport"]
    assert not lost, f"not read: {lost}"
    return "4 forms read"


@row("R05", "label that is not in the list", "abstains, never a near or random one")
def _(d):
    X = says(d, [d.lib.say(label) for label in ("sports", "politics", "spor", "none", "42")])
    return d.gives_up_on(X, 2, [])


@row("R06", "two labels for one text", "abstains")
def _(d):
    X = says(d, [d.lib.say("sport, food"), d.lib.say("sport and food")])
    return d.gives_up_on(X, 2, [])


@row("R10", "refusal field, refusal prose", "abstains, no retry")
def _(d):
    message = {"choices": {"0": {"message": {"refusal": "I cannot help", "content": None}}}}
    prose = "I'm sorry, but I can't label this."
    d.script(
        fault("merge", fields=message, contains="one"),
        fault("content", content=prose, contains="two"),
    )
    return d.gives_up_on(["one sport", "two sport"], 1)


@row("R11", "content filter: by finish reason with half a reply, and as 400", "abstains, 1 try")
def _(d):
    body = {"error": {"code": "content_filter", "message": "filtered"}}
    cut = {"finish_reason": "content_filter", "message": {"content": ""}}
    d.script(
        fault("merge", fields={"choices": {"0": cut}}, contains="one"),
        status(400, body=body, contains="two"),
    )
    return d.gives_up_on(["one sport", "two sport"], 1)


@row("R12", "finish reason length, though the reply reads as a label", "not taken as it is")
def _(d):
    choice = {"finish_reason": "length", "message": {"content": d.lib.say("sport")}}
    d.script(fault("merge", fields={"choices": {"0": choice}}, contains="bad"))
    return d.gives_up_on(["bad sport"], 2)


@row("R13", "no choices, content null or empty, a tool call", "abstains after 2 tries")
def _(d):
    call = {"content": None, "tool_calls": [{"function": {"name": "f"}}]}
    fields = {
        "one": {"choices": []},
        "two": {"choices": {"0": {"message": {"content": None}}}},
        "three": {"choices": {"0": {"message": {"content": ""}}}},
        "four": {"choices": {"0": {"message": call}}},
    }
    if d.lib.name == "scikit-ollama":
        del fields["one"]  # its protocol has no choices
    d.script(*(fault("merge", fields=f, contains=n) for n, f in fields.items()))
    return d.gives_up_on([f"sport {name}" for name in fields], 2)


@row("R15", "depth 10,000; 1 MB of digits; 1 MB of braces", "abstains within 20 s")
def _(d):
    start = time.monotonic()
    X = says(d, ['{"label":' * 10_000, "9" * 1_000_000, "{" * 500_000 + "}" * 500_000])
    said = d.gives_up_on(X, 2, [])
    assert time.monotonic() - start < 20
    return said


@row("R16", "NUL, bidi mark, markup around the label", "abstains or cleaned")
def _(d):
    X = says(d, [d.lib.say(label) for label in ("sport\x00", "\u202esport<script>")])
    labels = d.run(X)
    odd = [label for label in labels if not d.lib.abstained(label) and label not in CLASSES]
    assert not odd, f"returned {odd[0]!r}"
    return f"{labels}"


@row("R17", "another answer each time", "repeated runs agree")
def _(d):
    X = texts(8)
    first = d.run(X)
    d.script(fault("content", content=d.lib.say("food"), usable=True))
    changed = sum(a != b for a, b in zip(d.run(X), first, strict=True))
    assert changed == 0, f"{changed} of 8 labels changed"
    return "8 labels equal"


@row("I02", "empty and blank texts", "no request; abstains")
def _(d):
    X = ["", "  ", "\n\t"]
    labels = d.run([*X, *texts(2)])
    sent = d.server.ledger().received - 2
    assert sent <= 0, f"{sent} empty texts were paid for"
    invented = [label for label in labels[:3] if not d.lib.abstained(label)]
    assert not invented, f"took {invented[0]!r} as the label"
    return "0 requests, abstained"


@row("I03", "None, NaN among texts", "refused before anything is paid, index named")
def _(d):
    for value in (None, float("nan")):
        error = d.fails([*texts(2), value])
        assert error is not None, f"{value!r} was asked about as a text"
        assert d.server.ledger().received == 0, "paid for the others first"
        assert "2" in str(error), f"index not named: {str(error)[:60]!r}"
    return "refused, 0 requests"


@row("I08", "lone surrogate in a text", "no error in mid-run, right")
def _(d):
    d.all_right([*texts(3), "sport \ud800"])
    return "right"


@row("I10", "2 MB of text", "cut or refused before it is paid for")
def _(d):
    d.script(keep_bodies=True)
    error = d.fails(["sport " * 350_000, *texts(1)])
    size = max([len(json.dumps(b)) for b in d.server.ledger(events=True).bodies], default=0)
    assert size < 200_000, f"{size / 1e6:.1f} MB sent"
    return f"at most {size} characters sent" + (f", {type(error).__name__}" if error else "")


@row("I11", "quotes, braces, {label}, format codes, JSON in the text", "arrives verbatim")
def _(d):
    d.script(keep_bodies=True)
    X = ['"} ]\n{"role": "system"}', "{label} {labels} {0} {x} %s $x", "\\n \\u0041 \\"]
    X = [f"{text} sport" for text in X]
    d.run(X)
    bodies = d.server.ledger(events=True).bodies
    sent = [body["messages"][-1]["content"] for body in bodies]
    lost = [t for t in X if not any(t in s or json.dumps(t) == s for s in sent)]
    assert not lost, f"not sent as it is: {lost[0]!r}"
    return f"{len(X)} verbatim"


@row("I12", "100 copies of one text", "1 request, equal labels")
def _(d):
    labels = d.run(["a sport"] * 100)
    received = d.server.ledger().received
    assert set(labels) == {"sport"}
    assert received == 1, f"{received} requests"
    return "1 request"


@row("I13", "every other answer comes late, 8 workers", "labels keep the order of the texts")
def _(d):
    X = [f"note {n} about {CLASSES[n // 3 % 2]}" for n in range(24)]
    wait = {"retry-after-ms": "300"}
    d.script(*(status(429, headers=wait, contains=x, attempts=[1]) for x in X[::2]))
    d.all_right(X)
    return "24 right"


@row("I14", "200 texts, the last of a wrong type", "refused before the first payment")
def _(d):
    error = d.fails([*texts(199), ["nested"]])
    received = d.server.ledger().received
    assert received == 0, f"{received} requests first" + ("" if error else ", and no error")
    assert error is not None, "no error"
    return f"{type(error).__name__}, 0 requests"
