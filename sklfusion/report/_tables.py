"""The tables of a report's page, readable by screen readers and scrollable on phones."""

from sklfusion.report._text import escape, label

#: Classes that the table of classes shows, most frequent first.
_CLASSES_SHOWN = 200


def percent(share, digits=1):
    """Return a share as a percentage."""
    return f"{100 * share:.{digits}f} %"


def points(share):
    """Return a difference of shares in percentage points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "\u2212")


def count(number):
    """Return a whole number with a thin space between thousands."""
    return f"{int(number):,}".replace(",", "\u202f")


def color_of(name, role):
    """Return the colour class of a method or source."""
    if role == "part":
        return "llm" if name.startswith("LLM") else "encoder"
    return role


def dot(kind):
    """Return a dot in the colour of a method."""
    return f'<span class="dot {kind}" aria-hidden="true"></span>'


def scrolled(name, made):
    """Return a table in a box that scrolls sideways, by keyboard too."""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(name)}">{made}</div>'
    )


def table(heads, rows, caption, kind=""):
    """Return a table; its first column names the row, the others are numbers or labels.

    Cells are HTML: who calls escapes.
    """
    numbers = [all(row[c][:1].isdigit() for row in rows) for c in range(len(heads))]
    marks = [' class="n"' if number and c else "" for c, number in enumerate(numbers)]
    head = "".join(f'<th scope="col"{m}>{h}</th>' for h, m in zip(heads, marks, strict=True))
    body = "".join(
        "<tr>"
        + f'<th scope="row">{row[0]}</th>'
        + "".join(f"<td{m}>{cell}</td>" for cell, m in zip(row[1:], marks[1:], strict=True))
        + "</tr>"
        for row in rows
    )
    return scrolled(
        caption,
        f'<table class="{kind}"><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>",
    )


def pairs(told):
    """Return a table of names and values; values are HTML."""
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' for name, value in told.items()
    )
    return f"<table><tbody>{rows}</tbody></table>"


def methods_table(found):
    """Return the table of the fusion, its parts and cheap rivals."""
    several = found["multilabel"]
    heads = ["", "exact match" if several else "accuracy", "95 % (Wilson)", "macro-F1"]
    heads += ["micro-F1"] * several + ["log-loss", "calibration error"]
    head = "".join(f'<th scope="col"{" class=n" if h else ""}>{h or "method"}</th>' for h in heads)
    body = "".join(_method(name, s, several) for name, s in found["methods"].items())
    caption = (
        "Parts alone get the same rows; the encoder's head is a logistic regression whose penalty "
        "is chosen in inner folds. Log-loss: lower is better."
    )
    made = f'<table class="wide"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<p class="dim">{caption}</p>{scrolled("Methods", made)}'


def _method(name, scores, several):
    low, high = scores["accuracy_interval"]
    cells = [percent(scores["accuracy"]), f"{100 * low:.1f} to {100 * high:.1f}"]
    cells.append(f"{scores['macro_f1']:.3f}")
    cells += [f"{scores['micro_f1']:.3f}"] if several else []
    for metric in ("log_loss", "calibration_error"):
        cells.append("\u2013" if scores[metric] is None else f"{scores[metric]:.3f}")
    silent = scores.get("rows_without_answer")
    note = f" <small>({count(silent)} rows without an answer)</small>" if silent else ""
    main = ' class="main"' if scores["role"] == "fusion" else ""
    first = f"{dot(color_of(name, scores['role']))}{escape(name)}{note}"
    numbers = "".join(f'<td class="n">{cell}</td>' for cell in cells)
    return f'<tr{main}><th scope="row">{first}</th>{numbers}</tr>'


def per_class_table(found):
    """Return precision, recall and F1 by class, and the F1 of each part."""
    mine = found["per_class"][found["subject"]]
    parts = {n: rows for n, rows in found["per_class"].items() if n != found["subject"]}
    heads = ["class", "rows", "precision", "recall", "F1"]
    heads += [f"F1, {escape(name)}" for name in parts]
    order = list(range(len(mine)))
    if len(mine) > _CLASSES_SHOWN:
        order = sorted(order, key=lambda n: -mine[n]["rows"])[:_CLASSES_SHOWN]
    rows = []
    for number in order:
        one = mine[number]
        cells = [label(one["label"]), count(one["rows"])]
        cells += [f"{one[metric]:.3f}" for metric in ("precision", "recall", "f1")]
        rows.append(cells + [f"{other[number]['f1']:.3f}" for other in parts.values()])
    caption = f"By class, of {escape(found['subject'])}."
    if len(mine) > len(rows):
        caption += f" The {len(rows)} most frequent of {len(mine)}."
    return table(heads, rows, caption, "wide")


def confusion_table(matrix, classes):
    """Return the confusion matrix as a table whose cells are shaded by share of the true class."""
    head = "".join(f'<th scope="col"><span>{label(c)}</span></th>' for c in classes)
    body = []
    for number, (name, counts) in enumerate(zip(classes, matrix, strict=True)):
        total = sum(counts) or 1
        cells = "".join(
            f'<td class="{"right" if column == number else "wrong"}" '
            f'style="--shade: {70 * n / total:.0f}%">{count(n)}</td>'
            for column, n in enumerate(counts)
        )
        body.append(f'<tr><th scope="row">{label(name)}</th>{cells}</tr>')
    return scrolled(
        "Confusion matrix",
        '<table class="confusion"><caption>Truth in rows, predictions in columns.</caption><thead>'
        f"<tr><td></td>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>",
    )
