"""Draw the pictures of the documentation that show no figures: the model and the house.

    python -m benchmarks.pictures            # docs/images/fusion_model.png, docs/images/house.png

The house is read from the imports of the package: a folder or file stands one floor above all
that it imports, and files that stand on no folder are the ground.
"""

import ast
import textwrap
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from benchmarks._common import ROOT, save_figure

PACKAGE = ROOT / "sklfusion"
_INK, _LINE, _FAR = "#1b2733", "#8795a1", "#ccd3d9"
_ENCODER, _LLM, _PLAIN, _SUM = "#cfe3f5", "#fbe3c4", "#eef1f4", "#d8ecd9"


# -- the house -----------------------------------------------------------------------------


def imports_of(path):
    """Absolute names of what a file of the package imports from it, at any depth."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room_of(path):
    """The folder, or the file at the top level, that a module belongs to."""
    first = Path(path).relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def house():
    """Room to the set of rooms that it imports, the package's own ``__init__`` left out."""
    rooms = {room_of(p) for p in PACKAGE.rglob("*.py")} - {"__init__"}
    arrows = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        room = room_of(path)
        for name in imports_of(path):
            parts = name.split(".")
            if parts[0] == "sklfusion" and len(parts) > 1 and parts[1] in rooms - {room}:
                arrows[room].add(parts[1])
    return {room: arrows[room] for room in sorted(rooms)}


def floors(arrows):
    """Floor of each room: one above the highest that it imports.

    Raises
    ------
    ValueError
        If rooms import each other in a circle.
    """
    found = {}
    while len(found) < len(arrows):
        ready = [r for r in arrows if r not in found and arrows[r] <= found.keys()]
        if not ready:
            raise ValueError(f"rooms import each other: {sorted(arrows.keys() - found.keys())}")
        level = {r: 1 + max((found[t] for t in arrows[r]), default=-1) for r in ready}
        found |= level
    return found


def ground_of(arrows):
    """Files that stand on no folder, directly or through others: the ground that all may use."""
    ground = {room for room in arrows if not (PACKAGE / room).is_dir()}
    while high := {room for room in ground if not arrows[room] <= ground}:
        ground -= high
    return ground


def direct(arrows):
    """Arrows without those that a longer way over other rooms says already."""
    reached = {}
    for room in sorted(arrows, key=floors(arrows).get):
        reached[room] = arrows[room].union(*(reached[target] for target in arrows[room]))
    return {
        room: {t for t in targets if not any(t in reached[other] for other in targets)}
        for room, targets in arrows.items()
    }


def plan():
    """The ground, and room to the rooms that its arrows point to."""
    whole = house()
    ground = ground_of(whole)
    return ground, direct({room: whole[room] - ground for room in whole.keys() - ground})


def plan_text():
    """The plan in words; it lies in the picture, so that a test can tell when to draw anew."""
    ground, arrows = plan()
    lines = [f"{room}: {', '.join(sorted(arrows[room]))}" for room in sorted(arrows)]
    return "\n".join([*lines, f"ground: {', '.join(sorted(ground))}"])


def draw_house():
    """Rooms by floor over the ground; an arrow points to a room that is imported."""
    ground, arrows = plan()
    place = _places(arrows)
    width, height = (1 + max(at[axis] for at in place.values()) for axis in (0, 1))
    figure, ax = plt.subplots(figsize=(1.75 * width + 0.4, 0.75 * height + 1.5))
    for room, targets in sorted(arrows.items()):
        for target in sorted(targets):
            (x, y), (u, v) = place[room], place[target]
            _arrow(ax, x, y - 0.28, u, v + 0.28, color=_LINE if y - v == 1 else _FAR)
    for room, (x, y) in place.items():
        folder = (PACKAGE / room).is_dir()
        _box(ax, x, y, 0.88, 0.5, f"{room}/" if folder else room, _ENCODER if folder else _PLAIN)
    names = textwrap.fill(",  ".join(sorted(ground, key=lambda r: r.strip("_"))), 17 * int(width))
    _box(ax, (width - 1) / 2, -1.35, width, 1.3, f"the ground: {names}", _SUM, 11)
    ax.set_xlim(-0.6, width - 0.4)
    ax.set_ylim(-2.1, height - 0.6)
    ax.axis("off")
    figure.tight_layout()
    return figure


def _places(arrows):
    """Room to (x, floor): each as near as may be to what it stands on."""
    rows = defaultdict(list)
    for room, floor in sorted(floors(arrows).items()):
        rows[floor].append(room)
    width = max(map(len, rows.values()))
    place = {}
    for floor in sorted(rows):
        wanted = {
            room: sum(place[t][0] for t in arrows[room]) / max(len(arrows[room]), 1)
            for room in rows[floor]
        }
        for n, room in enumerate(sorted(rows[floor], key=wanted.get)):
            place[room] = (n + (width - len(wanted)) / 2, floor)
    return place


def _box(ax, x, y, width, height, text, color, size=12):
    shape = plt.matplotlib.patches.FancyBboxPatch(
        (x - width / 2, y - height / 2),
        width,
        height,
        boxstyle="round,pad=0.02,rounding_size=0.06",
        facecolor=color,
        edgecolor=_LINE,
        linewidth=0.9,
        zorder=3,
    )
    ax.add_patch(shape)
    ax.text(x, y, text, ha="center", va="center", fontsize=size, color=_INK, zorder=4)


# -- the model -----------------------------------------------------------------------------


def draw_model():
    """How evidence of each source becomes one probability per class."""
    figure, ax = plt.subplots(figsize=(11.2, 4.6))
    lanes = {
        2: ("embedding", "ridge logistic probes,\naveraged by held-out fit", "a", _ENCODER),
        1: ("LLM 1:\nvotes", "smoothed table\np(class | vote)", "b₁", _LLM),
        0: ("LLM 2:\nsoft scores", "temperature and\nmatrix around it", "b₂", _LLM),
    }
    for y, (source, evidence, trust, color) in lanes.items():
        _box(ax, 0, y, 1.35, 0.52, source, color, 13)
        _box(ax, 2.05, y, 2.0, 0.62, evidence, color, 13)
        _box(ax, 3.9, y, 0.62, 0.42, f"× {trust}", _PLAIN, 14)
        for left, right in ((0.7, 1.02), (3.08, 3.56)):
            _arrow(ax, left, y, right, y)
        _arrow(ax, 4.24, y, 5.02, 1 + 0.12 * (y - 1))
    _box(ax, 5.75, 1, 1.4, 0.95, "log prior\n+ evidence\n+ bias c", _SUM, 13)
    _box(ax, 7.75, 1, 1.3, 0.55, "class\nprobabilities", _SUM, 13)
    _arrow(ax, 6.48, 1, 7.06, 1)
    _box(ax, 5.75, 2.28, 1.5, 0.45, "residual MLP,\nby choice", _PLAIN, 12)
    _arrow(ax, 5.75, 2.02, 5.75, 1.53, dashed=True)
    captions = {2.05: "evidence, out of fold", 3.9: "trust, drawn\nto a fixed start", 0: "sources"}
    for x, caption in captions.items():
        ax.text(x, 2.85, caption, ha="center", va="center", fontsize=12, color="#5b6b79")
    ax.set_xlim(-0.8, 8.5)
    ax.set_ylim(-0.5, 3.1)
    ax.axis("off")
    figure.tight_layout()
    return figure


def _arrow(ax, x, y, u, v, dashed=False, color=_LINE):
    style = {"arrowstyle": "-|>", "color": color, "lw": 1.1, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", (u, v), (x, y), arrowprops=style | ({"ls": "--"} if dashed else {}))


def main():
    """Draw both."""
    save_figure(draw_model(), "fusion_model")
    save_figure(draw_house(), "house", plan_text())


if __name__ == "__main__":
    main()
