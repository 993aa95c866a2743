"""Where a results file comes from: program, seeds, interval, and the code that it ran through.

The code is every file that a program reaches by its imports, those inside functions too, each with
a digest of its syntax tree without docstrings: a changed constant changes the digest, a changed
word does not. A result is stale once a file of the package that it ran through has changed. (The
programs have digests as well, but the tables and pictures in them change without the figures.)
"""

import ast
import hashlib
import platform
import re
from datetime import date
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = ("sklfusion", "benchmarks")
#: Draws what was measured, and measures nothing.
NOT_FOLLOWED = ("sklfusion/plotting/", "sklfusion/plotting.py")
#: What runs only where a program asks for it by this word; elsewhere the encoder is frozen.
ON_DEMAND = {"sklfusion/embedding/_finetune.py": "fine_tune"}
#: What a figure without them would be hearsay.
WANTED = ("program", "date", "versions", "seeds", "interval", "code")


def draws(n, first=0):
    """Seeds of ``n`` draws in words."""
    return f"draws {first} to {first + n - 1}"


def record(program, seeds, interval, former=None, roots=None):
    """What a results file says about its making.

    Parameters
    ----------
    program : str
        Module under ``benchmarks``, e.g. ``"quality.demo"``.
    seeds, interval : str
        Which draws, and what the figures' errors or intervals are.
    former : dict, optional
        Record of an earlier run of which parts are kept: while it is stale, so is the whole.
    roots : sequence of str, optional
        Modules under ``benchmarks`` whose imports are followed; by default the program.
    """
    import sklearn
    import torch

    versions = {"python": platform.python_version(), "sklearn": sklearn.__version__}
    versions["torch"] = torch.__version__
    values = (
        program,
        str(date.today()),
        versions,
        seeds,
        interval,
        code_of(*(roots or [program])),
    )
    made = dict(zip(WANTED, values, strict=True))
    if former and changed(former):
        made |= {"date": former["date"], "code": made["code"] | former["code"]}
    return made


def code_of(*programs, root=ROOT):
    """Digest of every file that programs reach by their imports, by path from the root."""
    start = [_file(f"benchmarks.{program}", root) for program in programs]
    texts = _reached(start, root, ON_DEMAND)
    asks = set(texts) - {"benchmarks/_provenance.py"}  # which only names the words
    words = "".join(texts[file] for file in asks if file.startswith("benchmarks/"))
    without = [file for file, word in ON_DEMAND.items() if word not in words]
    texts = _reached(start, root, without)
    return {file: digest(text) for file, text in sorted(texts.items())}


def _reached(todo, root, without):
    texts, todo = {}, list(todo)
    while todo:
        file = todo.pop()
        if file and not (file in texts or file in without or file.startswith(NOT_FOLLOWED)):
            texts[file] = (root / file).read_text(encoding="utf-8")
            todo += _needed(file, texts[file], root)
    return texts


def changed(made, root=ROOT):
    """Files of the package that are not as they were when a result was made, sorted."""
    return [
        file
        for file, was in sorted(made["code"].items())
        if file.startswith("sklfusion/") and _digest_now(root / file) != was
    ]


def notes(records, root=ROOT):
    """The lines under a figure: one for the results of a program that were made alike."""
    alike = {}
    for made in records:
        alike.setdefault((made["program"], made["seeds"], made["interval"]), []).append(made)
    lines = []
    for (program, seeds, interval), found in alike.items():
        text = "".join(str(sorted(made["code"].items())) for made in found)
        code = hashlib.sha256(text.encode()).hexdigest()[:8]
        checked = "".join(sorted({f"; {made['again']}" for made in found if "again" in made}))
        line = f"*`{program}`: {seeds}; {interval}{checked}; code {code}.*"
        old = [made["date"] for made in found if changed(made, root)]
        if old:
            line += f" *Measured on {min(old)}; the code that it ran through has changed since.*"
        lines.append(line)
    return lines


@cache
def _tree(text):
    return ast.parse(text)


@cache
def digest(text):
    """Digest of what a Python file does: the same for other words and for another layout."""
    return hashlib.sha256(_dump(_tree(text)).encode()).hexdigest()[:12]


def _digest_now(path):
    return digest(path.read_text(encoding="utf-8")) if path.exists() else None


def _dump(node):
    """A syntax tree as text, without docstrings; `ast.dump` differs between Python versions."""
    if isinstance(node, list):
        return ",".join(_dump(item) for item in node if not _is_word(item))
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
    inside = ",".join(f"{name}={_dump(value)}" for name, value in fields)
    return f"{type(node).__name__}({inside})"


def _is_word(node):
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _needed(file, text, root):
    """Files that a file imports, or starts by their name where it is a program."""
    for node in _running(_tree(text)):
        if isinstance(node, ast.Import):
            yield from (_file(alias.name, root) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (_home(node.module, alias.name, root) for alias in node.names)
        elif isinstance(node, ast.Constant) and file.startswith("benchmarks/"):
            yield from _named(str(node.value), root)


def _named(text, root):
    """Files of a module or of a short program that stands in a string."""
    if re.fullmatch(r"\w+(\.\w+)+", text):
        yield _file(text, root)
    for module, name in re.findall(r"from ([\w.]+) import (\w+)", text):
        yield _home(module, name, root)


def _running(node):
    """Yield every node below one but what only type checkers read."""
    for child in ast.iter_child_nodes(node):
        for_checkers = isinstance(child, ast.If) and getattr(child.test, "id", "")
        if for_checkers != "TYPE_CHECKING":
            yield child
            yield from _running(child)


def _home(module, name, root):
    """File in which a name lives that is imported from a module."""
    file = _file(f"{module}.{name}", root) or _file(module, root)
    if file and file.endswith("__init__.py"):
        stub = root / f"{file}i"
        text = (stub if stub.exists() else root / file).read_text(encoding="utf-8")
        for line in _tree(text).body:
            if isinstance(line, ast.ImportFrom) and name in [a.name for a in line.names]:
                return _home(line.module, name, root)
    return file


def _file(module, root):
    """Path of a module of the project from the root, or None."""
    if module.partition(".")[0] not in PROJECT:
        return None
    place = module.replace(".", "/")
    found = (file for file in (f"{place}.py", f"{place}/__init__.py") if (root / file).exists())
    return next(found, None)
