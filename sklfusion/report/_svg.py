"""Small charts as inline SVG: no script, no font, no colour that the page does not name.

Every chart is 360 units wide, so that its letters can be read on a phone, and takes its colours
from classes of the page's style sheet (light, dark and print).
"""

from sklfusion.report._text import escape

_WIDTH = 360
#: Room around the axes of charts, for the numbers and for dots at the rim.
_LEFT, _BELOW, _ABOVE, _RIGHT = 58, 42, 14, 22


def _svg(height, said, content):
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(said)}">'
        f"{''.join(content)}</svg>"
    )


def _letters(x, y, words, anchor="start", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def _stroke(x1, y1, x2, y2, kind):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def intervals(rows, said):
    """Draw a share with its interval per method.

    Parameters
    ----------
    rows : list of (name, value, low, high, colour class)
    said : str
        What the picture shows, for those who cannot see it.
    """
    step, top = 38, 6
    low = max(0.0, min(r[2] for r in rows) - 0.03)
    high = min(1.0, max(r[3] for r in rows) + 0.03)
    bottom = top + step * len(rows)

    def x(value):
        return 20 + (value - low) / max(high - low, 1e-9) * (_WIDTH - 40)

    parts = []
    for tick in _ticks(low, high):
        parts.append(_stroke(x(tick), top, x(tick), bottom, "grid"))
        parts.append(
            _letters(x(tick), bottom + 16, f"{100 * tick:.0f} %", "middle", ' class="dim"')
        )
    for number, (name, value, a, b, color) in enumerate(rows):
        y = top + step * number + 26
        parts.append(_letters(8, y - 11, f"{name}: {100 * value:.1f} %"))
        parts.append(_stroke(x(a), y, x(b), y, f"stroke {color}"))
        parts.append(f'<circle cx="{x(value):.1f}" cy="{y}" r="5" class="fill {color}"/>')
    return _svg(bottom + 24, said, parts)


def _ticks(low, high):
    for step in (0.02, 0.05, 0.1, 0.2):
        if (high - low) / step <= 6:
            break
    first = int(low / step + 0.999)
    return [n * step for n in range(first, int(high / step + 1e-9) + 1)]


def _axes(height, x_name, y_name, x_ticks, y_ticks, place):
    """Grid, numbers and names of a chart; ticks are (value, words)."""
    parts = []
    for value, words in y_ticks:
        _, y = place(x_ticks[0][0], value)
        parts.append(_stroke(_LEFT, y, _WIDTH - _RIGHT, y, "grid"))
        parts.append(_letters(_LEFT - 6, y + 4, words, "end", ' class="dim"'))
    for value, words in x_ticks:
        x, _ = place(value, y_ticks[0][0])
        parts.append(_letters(x, height - _BELOW + 18, words, "middle", ' class="dim"'))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(_letters(middle, height - 6, x_name, "middle", ' class="dim"'))
    y = (height - _BELOW + _ABOVE) / 2
    turned = f' class="dim" transform="rotate(-90 11 {y:.1f})"'
    parts.append(_letters(11, y, y_name, "middle", turned))
    return parts


def calibration(curves, said):
    """Draw accuracy against confidence; dots grow with the rows of a bin.

    Parameters
    ----------
    curves : list of (confidence list, accuracy list, share list, colour class)
    said : str
    """
    height = 350

    def place(x, y):
        return _LEFT + x * (_WIDTH - _RIGHT - _LEFT), height - _BELOW - y * (
            height - _BELOW - _ABOVE
        )

    ticks = [(n / 5, f"{20 * n} %") for n in range(6)]
    parts = _axes(height, "confidence", "accuracy", ticks, ticks, place)
    (x1, y1), (x2, y2) = place(0, 0), place(1, 1)
    parts.append(_stroke(x1, y1, x2, y2, "diagonal"))
    for confidence, accuracy, share, color in curves:
        points = [place(x, y) for x, y in zip(confidence, accuracy, strict=True)]
        parts.append(_polyline(points, color))
        for (x, y), part in zip(points, share, strict=True):
            size = 2.5 + 8 * part**0.5
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" class="fill soft {color}"/>'
            )
    return _svg(height, said, parts)


def _polyline(points, color):
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{joined}" class="stroke {color}"/>'


def rise(share, accuracy, said):
    """Draw accuracy against the share of texts asked about."""
    height = 260
    low, high = min(accuracy), max(accuracy)
    pad = max(0.02, 0.15 * (high - low))
    low, high = max(0.0, low - pad), min(1.0, high + pad)

    def place(x, y):
        inner = height - _BELOW - _ABOVE
        return (
            _LEFT + x * (_WIDTH - _RIGHT - _LEFT),
            height - _BELOW - (y - low) / max(high - low, 1e-9) * inner,
        )

    x_ticks = [(n / 4, f"{25 * n} %") for n in range(5)]
    y_ticks = [(tick, f"{100 * tick:.0f} %") for tick in _ticks(low, high)]
    parts = _axes(height, "texts asked about", "accuracy", x_ticks, y_ticks, place)
    points = [place(x, y) for x, y in zip(share, accuracy, strict=True)]
    parts.append(_polyline(points, "fusion"))
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="fill fusion"/>' for x, y in points]
    return _svg(height, said, parts)


def bars(rows, said):
    """Draw one bar per source with the range over folds; rows are (name, values, colour class)."""
    step = 40
    most = max(max(values) for _, values, _ in rows) or 1.0
    parts = []
    for number, (name, values, color) in enumerate(rows):
        y, mean = step * number, sum(values) / len(values)
        width = 344 * mean / most
        parts.append(_letters(8, y + 14, f"{name}: {mean:.2f}"))
        parts.append(
            f'<rect x="8" y="{y + 19}" width="{width:.1f}" height="13" class="fill {color}"/>'
        )
        ends = [8 + 344 * max(value, 0) / most for value in (min(values), max(values))]
        parts.append(_stroke(ends[0], y + 25.5, ends[1], y + 25.5, "range"))
    return _svg(step * len(rows) + 4, said, parts)


def heat(matrix, said):
    """Draw a confusion matrix of many classes: cells shaded by the share of the true class."""
    size, n = 340.0, len(matrix)
    cell = size / n
    parts = [f'<rect x="10" y="4" width="{size}" height="{size}" class="frame"/>']
    for row, counts in enumerate(matrix):
        total = sum(counts) or 1
        for column, count in enumerate(counts):
            if count:
                kind = "right" if row == column else "wrong"
                shade = 0.25 + 0.75 * count / total
                parts.append(
                    f'<rect x="{10 + column * cell:.1f}" y="{4 + row * cell:.1f}" '
                    f'width="{cell:.1f}" height="{cell:.1f}" class="{kind}" '
                    f'fill-opacity="{shade:.2f}"/>'
                )
    return _svg(int(size) + 10, said, parts)
