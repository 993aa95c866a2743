"""The page: one HTML text out of the figures of a report, section by section."""

from importlib.resources import files
from string import Template

from sklfusion.plotting import METHOD_COLORS
from sklfusion.report import _svg
from sklfusion.report._tables import (
    color_of,
    confusion_table,
    count,
    dot,
    methods_table,
    pairs,
    per_class_table,
    percent,
    points,
    table,
)
from sklfusion.report._text import escape, label, text

#: Classes up to which a confusion matrix is a table with numbers, and up to which it is drawn.
_WRITTEN, _DRAWN = 12, 150
#: Confusions that are listed.
_LISTED = 10


def page(found: dict) -> str:
    """Return the page of a report's figures (:meth:`EvaluationReport.to_dict`).

    The page refers to nothing outside itself.
    """
    sections = [
        ("data", "Data", _data(found)),
        ("methods", "How good it is", _methods(found)),
        ("reliability", "Reliability", _reliability(found)),
        ("classes", "Labels" if found["multilabel"] else "Classes", _by_class_section(found)),
        ("confusion", "Confusion", _confusion(found)),
        ("trust", "Trust per source", _trust(found)),
        ("cost", "Accuracy by share of texts asked about", _cost(found)),
        ("disagreement", "Where the sources disagree most", _disagreement(found)),
        ("spent", "Spent", _spent(found)),
        ("made", "How this was made", _how_made(found)),
    ]
    there = [(name, heading, body) for name, heading, body in sections if body]
    links = "".join(f'<li><a href="#{name}">{heading}</a></li>' for name, heading, _ in there)
    bodies = "".join(
        f'<section id="{name}"><h2>{heading}</h2>{body}</section>' for name, heading, body in there
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(found['title'])}</title><style>{_style()}</style></head><body>"
        f"<header><h1>{escape(found['title'])}</h1>{_summary(found)}</header>"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav><main>{bodies}</main></body></html>\n'
    )


def _style():
    """Return the style sheet in the colours of all plots here."""
    names = {"fusion": "fusion", "llm": "LLM alone", "encoder": "encoder alone"}
    css = files("sklfusion.report").joinpath("report.css").read_text(encoding="utf-8")
    return Template(css).substitute({k: METHOD_COLORS[name] for k, name in names.items()})


def _how(found):
    if found["folds"] is None:
        return f"on {count(found['data']['rows'])} test rows"
    return (
        f"on {count(found['data']['rows'])} rows, each by a model that has not seen it "
        f"({found['folds']} folds)"
    )


def _summary(found):
    scores, ahead = found["methods"][found["subject"]], found["comparison"]
    low, high = scores["accuracy_interval"]
    what = "Exact match" if found["multilabel"] else "Accuracy"
    tiles = [(what, percent(scores["accuracy"]), f"{percent(low)} to {percent(high)} (95 %)")]
    if ahead:
        low, high = ahead["interval"]
        over = f"points over {escape(ahead['best_part'])}, {points(low)} to {points(high)}"
        subject = found["subject"].capitalize()
        tiles.append((f"{subject} minus its best part", points(ahead["difference"]), over))
    tiles.append(("Macro-F1", f"{scores['macro_f1']:.3f}", "mean over classes"))
    if scores["calibration_error"] is not None:
        tiles.append(("Calibration error", f"{scores['calibration_error']:.3f}", "0 is perfect"))
    made = "".join(
        f'<div class="tile"><small>{name}</small><b>{value}</b><small>{note}</small></div>'
        for name, value, note in tiles
    )
    return (
        f'<p class="dim">{_how(found)}, {found["made"]["date"]}</p><div class="tiles">{made}</div>'
    )


def _data(found):
    parts = [_sheet(found["data"], "Test rows" if found["training"] else "Rows")]
    if found["training"]:
        parts.append(_sheet(found["training"], "Training rows"))
    return f'<div class="two">{"".join(parts)}</div>'


def _sheet(sheet, name):
    told = {name: count(sheet["rows"])}
    for what, number in sheet["missing"].items():
        if number:
            told[f"left out, without a {what}"] = count(number)
    if "characters" in sheet:
        low, quarter, middle, three, high = map(count, sheet["characters"])
        told["characters of a text"] = (
            f"{low} to {high}, half of them {quarter} to {three}, median {middle}"
        )
        told["repeats of another text"] = count(sheet["repeated_texts"])
        told["empty texts"] = count(sheet["empty_texts"])
    else:
        told["columns of features"] = count(sheet["columns"])
    if "also_in_training" in sheet:
        told["texts that stand in training too"] = count(sheet["also_in_training"])
    if "labels_per_row" in sheet:
        told["labels per row"] = f"{sheet['labels_per_row']:.2f}"
    classes = sheet["classes"]
    told["classes"] = count(len(classes))
    shown = "; ".join(f"{label(c)} {count(n)}" for c, n in classes[:30])
    told["rows by class"] = shown + (
        f"; and {len(classes) - 30} more" if len(classes) > 30 else ""
    )
    return pairs(told)


def _methods(found):
    rows = [
        (name, s["accuracy"], *s["accuracy_interval"], color_of(name, s["role"]))
        for name, s in found["methods"].items()
    ]
    best = ", ".join(f"{r[0]} {percent(r[1])}" for r in rows)
    picture = _svg.intervals(rows, f"Accuracy with 95 % intervals: {best}")
    return f'{methods_table(found)}<div class="two">{picture}<div>{_comparison(found)}</div></div>'


def _comparison(found):
    ahead, subject, said = found["comparison"], escape(found["subject"]), []
    if ahead:
        low, high = ahead["interval"]
        verdict = (
            f"The interval is above zero: {subject} is better."
            if low > 0
            else f"The interval is below zero: {subject} is worse."
            if high < 0
            else "The interval holds zero: these rows cannot tell them apart."
        )
        said.append(
            f"<p>{subject.capitalize()} minus {escape(ahead['best_part'])}, row by row: "
            f"<b>{points(ahead['difference'])}</b> points, 95 % interval {points(low)} to "
            f"{points(high)} (paired, Agresti and Min). {verdict} The best part is the one that "
            "turned out best on these very rows.</p>"
        )
    said += [f"<p>{escape(note)}</p>" for note in found["notes"]]
    return "".join(said)


def _reliability(found):
    curves = found["reliability"]
    if not curves:
        return "<p>The estimator gives no probabilities.</p>"
    drawn = [
        (c["confidence"], c["accuracy"], c["share"], color_of(n, found["methods"][n]["role"]))
        for n, c in curves.items()
    ]
    key = "".join(
        f"<li>{dot(color_of(n, found['methods'][n]['role']))}{escape(n)}: calibration error "
        f"{found['methods'][n]['calibration_error']:.3f}</li>"
        for n in curves
    )
    rows = [
        [escape(n), percent(a), percent(b), percent(share)]
        for n, c in curves.items()
        for a, b, share in zip(c["confidence"], c["accuracy"], c["share"], strict=True)
    ]
    heads = ["method", "confidence", "accuracy", "share of rows"]
    picture = _svg.calibration(drawn, "Accuracy by confidence; on the diagonal they are equal")
    figures = table(heads, rows, "Mean confidence and accuracy in ten bins of equal width.")
    return (
        f'<div class="two">{picture}<div><p>How often an answer is right, by how sure the method '
        "was. On the dashed line confidence is what it says; below it the method is too sure. "
        f"Large dots hold many rows.</p><ul>{key}</ul><details><summary>Figures</summary>"
        f"{figures}</details></div></div>"
    )


def _by_class_section(found):
    return per_class_table(found)


def _confusion(found):
    matrix, classes = found["confusion"], found["classes"]
    if matrix is None:
        return ""
    wrong = sorted(
        (-n, i, j) for i, r in enumerate(matrix) for j, n in enumerate(r) if n and i != j
    )[:_LISTED]
    rows = [[label(classes[i]), label(classes[j]), count(-n)] for n, i, j in wrong]
    listed = table(["true", "predicted", "rows"], rows, "The most frequent confusions.")
    listed = listed if rows else "<p>No row was confused.</p>"
    if len(classes) <= _WRITTEN:
        shown = confusion_table(matrix, classes)
    elif len(classes) <= _DRAWN:
        words = "True classes from top to bottom, predicted ones from left to right, in the order "
        shown = _svg.heat(matrix, "Confusion matrix") + (
            f'<p class="dim">{words}of the table above. The shade is the share of the true class; '
            "the diagonal is right.</p>"
        )
    else:
        shown = f'<p class="dim">{len(classes)} classes are too many for a picture.</p>'
    return f'<div class="two"><div>{shown}</div><div>{listed}</div></div>'


def _trust(found):
    trust = found["trust"]
    if not trust:
        return ""
    rows = [
        (name, v, "encoder" if name.startswith(("encoder", "first stage")) else "llm")
        for name, v in trust.items()
    ]
    said = ", ".join(f"{name} {sum(v) / len(v):.2f}" for name, v in trust.items())
    return (
        f'<div class="two">{_svg.bars(rows, f"Trust per source: {said}")}<p>The factor with which '
        "the fusion counts the evidence (log-odds) of each source: 1 takes it at its word, 0 "
        "ignores it. The line spans the folds.</p></div>"
    )


def _cost(found):
    curve = found["cost_curve"]
    if curve is None:
        return ""
    first, last = percent(curve["accuracy"][0]), percent(curve["accuracy"][-1])
    ends = f"{first} without the LLM, {last} with it"
    rows = [
        [percent(s, 0), percent(a)] for s, a in zip(curve["share"], curve["accuracy"], strict=True)
    ]
    figures = table(["texts asked about", "accuracy"], rows, "The same as numbers.")
    words = (
        "What the cascade expects, from rows of its training that its parts had not seen: the "
        "first stage answers by itself, and the LLM is asked about the texts of which that is "
        "least sure."
        if found["subject"] == "cascade"
        else "If the encoder answers by itself and the LLM is asked only about the texts of "
        "which the encoder is least sure. <code>CascadeClassifier</code> works that way, and "
        "chooses the share for you."
    )
    return (
        f'<div class="two">{_svg.rise(curve["share"], curve["accuracy"], f"Accuracy: {ends}")}'
        f"<div><p>{words}</p><details><summary>Figures</summary>{figures}</details>"
        "</div></div>"
    )


def _disagreement(found):
    if not found["disagreements"]:
        return ""
    note = (
        '<p class="dim">Long texts are shortened.</p>' if found["data"].get("characters") else ""
    )
    return note + "".join(_row(one) for one in found["disagreements"])


def _row(one):
    said = "".join(
        f"<dt>{escape(name)}</dt><dd>{_answered(answer)}</dd>"
        for name, answer in one["said"].items()
    )
    shown = f"<p>{text(one['text'])}</p>" if one["text"] is not None else ""
    return (
        f'<div class="row"><small>row {one["row"]}, apart by {one["apart"]:.2f}</small>{shown}'
        f"<dl><dt>label</dt><dd>{_labels(one['truth'])}</dd>{said}</dl></div>"
    )


def _labels(answer):
    if isinstance(answer, list):
        return ", ".join(map(label, answer)) or "none"
    return label(answer)


def _answered(answer):
    if answer["answer"] is None:
        return "no answer"
    verdict = (
        '<span class="yes">right</span>' if answer["right"] else '<span class="no">wrong</span>'
    )
    sure = "" if answer["confidence"] is None else f" {percent(answer['confidence'], 0)}"
    return f"{_labels(answer['answer'])}{sure}, {verdict}"


def _spent(found):
    usage = found["usage"]
    if usage is None:
        return "" if found["data"].get("columns") else "<p>No LLM was asked.</p>"
    cost = "not known (no prices)" if usage["cost"] is None else f"{usage['cost']:.4f}"
    told = {
        "requests": count(usage["requests"]),
        "answered from the store": count(usage["cached"]),
        "tokens in": count(usage["prompt_tokens"]),
        "tokens out": count(usage["completion_tokens"]),
        "retries": count(usage["retries"]),
        "money": f"{cost}",
    }
    failures = "; ".join(f"{escape(cause)} {count(n)}" for cause, n in found["failures"].items())
    told["judged rows without an answer"] = failures or "none"
    return pairs(told) + (
        '<p class="dim">The whole evaluation: all folds, parts and rivals. Money is in the '
        "currency of the prices; answers from the store cost nothing again.</p>"
    )


def _how_made(found):
    made = found["made"]
    versions = ", ".join(f"{escape(n)} {escape(v)}" for n, v in made["versions"].items())
    seeds = ", ".join(f"{escape(n)} {escape(v)}" for n, v in made["seeds"].items())
    how = (
        "fitted once, judged on the test rows"
        if found["folds"] is None
        else (f"cross-validation, {found['folds']} folds; repeats of a text stay in one fold")
    )
    told = {
        "date": escape(made["date"]),
        "time taken": f"{made['seconds']:.1f} s",
        "judged by": how,
        "seeds": seeds,
        "versions": versions,
    }
    return (
        pairs(told)
        + f"<details><summary>Estimator</summary><pre>{escape(made['estimator'])}</pre></details>"
    )
