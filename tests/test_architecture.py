"""The picture in the docs, held by reading the imports."""

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator

import sklfusion

ROOT = Path(sklfusion.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
LLM_FREE = ["fusion", "noise", "alignment", "multilabel", "embedding"]
LLM_CODE = ("sklfusion.llm", "sklfusion.prompts", "sklfusion.replies", "sklfusion.scoring")


def _name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path):
    """Every absolute module name that a file imports, at any depth."""
    package = path.relative_to(ROOT.parent).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = ".".join(package[: len(package) - node.level + 1])
                yield f"{base}.{node.module}" if node.module else base
            else:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _own_names(path):
    """Every (module, name) that a file takes from the project, inside functions too."""
    package = path.relative_to(ROOT.parent).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        module = node.module
        if node.level:
            base = ".".join(package[: len(package) - node.level + 1])
            module = f"{base}.{node.module}" if node.module else base
        if module.partition(".")[0] == "sklfusion":
            yield from ((module, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_every_name_imported_inside_the_project_resolves(path):
    """An import inside a function runs for the first time when something has gone wrong."""
    dangling = []
    for module, name in _own_names(path):
        found = importlib.import_module(module)
        if not hasattr(found, name) and importlib.util.find_spec(f"{module}.{name}") is None:
            dangling.append(f"{module}.{name}")
    assert dangling == []


def _is_for_checkers(node):
    """Tell whether a node is ``if TYPE_CHECKING:``, whose imports never run."""
    named = getattr(node, "test", None)
    return isinstance(node, ast.If) and getattr(named, "id", None) == "TYPE_CHECKING"


def _running(node):
    """Yield every node below one but what only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if not _is_for_checkers(child):
            yield child
            yield from _running(child)


def _needs(path, names):
    """Return the modules of the project that a file imports at any depth."""
    found = set()
    for node in _running(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports by dots"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in names else node.module for name in inside}
    return (found & names) - {_name(path)}


def _circles(graph):
    """Return the groups of nodes each of which reaches all others."""

    def reach(start):
        seen, todo = set(), [start]
        while todo:
            new = graph.get(todo.pop(), set()) - seen
            seen |= new
            todo += new
        return seen

    reached = {node: reach(node) for node in graph}
    return {
        tuple(sorted({node} | {other for other in seen if node in reached.get(other, ())}))
        for node, seen in reached.items()
        if node in seen
    }


def _file_graph():
    names = set(map(_name, MODULES))
    return {_name(path): _needs(path, names) for path in MODULES}


def test_no_files_import_each_other_in_a_circle():
    """Whoever reads a file of a circle has to read them all."""
    assert _circles(_file_graph()) == set()


def test_no_folders_import_each_other_in_a_circle():
    """Each wing can be understood, tested and replaced with those below it alone."""
    folders = {}
    for name, needed in _file_graph().items():
        wing = name.split(".")[1:2]
        others = {tuple(other.split(".")[1:2]) for other in needed} - {tuple(wing), ()}
        folders.setdefault(tuple(wing), set()).update(others)
    assert _circles(folders) == set()


def test_circles_are_found():
    """The finder of circles finds one."""
    assert _circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {("b", "c")}


def test_the_asking_wing_has_floors():
    """Questions know neither the store nor an endpoint, and the store knows no endpoint."""
    below = {"prompts": ("llm", "replies", "scoring"), "replies": ("llm", "scoring")}
    for wing, above in below.items():
        wings = tuple(f"sklfusion.{name}" for name in above)
        for path in ROOT.joinpath(wing).glob("*.py"):
            assert not [name for name in _imports(path) if name.startswith(wings)], path


#: Settings that are checked where they are used, with words of their own; and one whose parts are.
WITHOUT_TABLE = {"LLMEndpoint", "LabelDistributionCollector"}
#: Names that may stand in two files: what Python or a tool calls so, and locks, one per file.
MANY_TIMES = {"_", "__all__", "__dir__", "__getattr__", "_lock", "main", "T"}


def _defined(path):
    """The functions, classes and constants that a file defines at its top."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        targets = getattr(node, "targets", [node.target] if hasattr(node, "target") else [])
        for target in targets if isinstance(node, ast.Assign | ast.AnnAssign) else ():
            yield from (name.id for name in ast.walk(target) if isinstance(name, ast.Name))


def test_no_two_things_have_one_name():
    """Who searches for a name finds one thing."""
    places = {}
    for path in MODULES:
        for name in set(_defined(path)) - MANY_TIMES:
            places.setdefault(name, []).append(_name(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def _bodies(path):
    """Yield the lines of each function without its docstring, and where it is."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            yield lines, f"{_name(path)}.{node.name}"


def test_functions_fit_a_screen():
    """Nine of ten functions are under 20 lines, and none is over 40."""
    bodies = [body for path in MODULES for body in _bodies(path)]
    assert np.mean([lines < 20 for lines, _ in bodies]) >= 0.9
    assert [where for lines, where in bodies if lines > 40] == []


def _docstring_lines(text):
    """How many lines of a module are docstrings: what the reference shows, not what runs."""
    with_one = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, with_one) and ast.get_docstring(node) is not None:
            yield node.body[0].end_lineno - node.body[0].lineno + 1


def test_modules_are_short():
    """Half of them are under 180 lines, and none is over 400, or 500 with what it documents."""
    texts = {_name(p): p.read_text(encoding="utf-8") for p in MODULES}
    lines = {name: len(text.splitlines()) for name, text in texts.items()}
    assert np.median(list(lines.values())) < 180
    assert {name: n for name, n in lines.items() if n > 500} == {}
    bare = {name: n - sum(_docstring_lines(texts[name])) for name, n in lines.items()}
    assert {name: n for name, n in bare.items() if n > 400} == {}


def test_nothing_is_dead():
    """No variable, import or line that cannot matter, as far as vulture is sure of it."""
    pytest.importorskip("vulture", reason="vulture, of the extra `test`, finds dead code")
    command = [sys.executable, "-m", "vulture", "--min-confidence", "80", str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize("name", sorted(sklfusion.__all__))
def test_parameters_of_estimators_stand_in_a_table(name):
    """One way to check parameters: a table of what each may be, looked at by ``fit``."""
    cls = getattr(sklfusion, name)
    if not isinstance(cls, type) or not issubclass(cls, BaseEstimator) or name in WITHOUT_TABLE:
        return
    known = set(cls._get_param_names())
    assert set(cls._parameter_constraints) <= known, name
    assert cls._parameter_constraints, name


def test_two_files_touch_the_private_parts_of_scikit_learn():
    """They move between releases: what is computed with in one file, what is drawn in another."""
    users = {
        _name(path)
        for path in MODULES
        if re.search(r"from sklearn[.\w]*(\._\w+| import.* _\w+)", path.read_text("utf-8"))
        or "_validate_params" in path.read_text("utf-8")
    }
    assert users == {"sklfusion._sklearn_compat", "sklfusion._diagram"}


def test_one_file_imports_openai():
    """The SDK is behind one adapter, so a new major version touches one file."""
    users = [
        _name(p)
        for p in MODULES
        if any(i == "openai" or i.startswith("openai.") for i in _imports(p))
    ]
    assert users in ([], ["sklfusion.llm._openai"])


@pytest.mark.parametrize("part", LLM_FREE)
def test_numeric_parts_reach_no_llm_code(part):
    """Fusion, noise and alignment work on arrays; no way leads to a client or the store."""
    graph = _file_graph()
    seen, open_ = set(), [n for n in graph if n.split(".")[1:2] == [part]]
    while open_:
        name = open_.pop()
        if name not in seen:
            seen.add(name)
            open_ += graph.get(name, ())
    assert [n for n in sorted(seen) if n.startswith(LLM_CODE)] == []


def test_nothing_imports_the_command_line():
    """The command line is a thin edge."""
    outside = [path for path in MODULES if ROOT / "cli" not in path.parents]
    assert len(outside) < len(MODULES)
    users = [_name(p) for p in outside if any("sklfusion.cli" in i for i in _imports(p))]
    assert users == []


def test_importing_the_package_is_light():
    """`import sklfusion` loads none of the heavy libraries."""
    code = (
        "import sys, sklfusion; "
        "print([m for m in ('torch', 'transformers', 'openai', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_room_stands_on_lower_ones():
    """Rooms that import each other would have no floor; ``floors`` says which they are."""
    pictures = pytest.importorskip("benchmarks.pictures")
    arrows = pictures.house()
    floor = pictures.floors(arrows)
    upward = [(room, to) for room in arrows for to in arrows[room] if floor[to] >= floor[room]]
    assert upward == []
    with pytest.raises(ValueError, match=r"import each other: \['llm', 'replies'\]"):
        pictures.floors({"llm": {"replies"}, "replies": {"llm"}, "prompts": set()})


def test_the_picture_of_the_house_is_that_of_the_imports():
    """What the stored picture shows is what its program would draw today."""
    pictures = pytest.importorskip("benchmarks.pictures")
    image = pytest.importorskip("PIL.Image")
    stored = image.open(ROOT.parent / "docs" / "images" / "house.png").text["Description"]
    assert stored == pictures.plan_text(), "run python -m benchmarks.pictures"
    figure = pictures.draw_house()
    drawn = {text.get_text().rstrip("/") for text in figure.axes[0].texts}
    assert pictures.plan()[1].keys() <= drawn


def test_every_public_name_exists_and_has_a_docstring():
    """The list of exports and the modules agree."""
    for name in sklfusion.__all__:
        assert getattr(sklfusion, name).__doc__, name


def test_unknown_names_are_attribute_errors():
    """A lazy package must still fail like any other module."""
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        sklfusion.Nonsense  # noqa: B018


def test_the_reference_lists_every_public_name():
    """A name without a page would be hard to find."""
    page = ROOT.parent / "docs" / "api.rst"
    listed = {line.strip() for line in page.read_text(encoding="utf-8").splitlines()}
    assert set(sklfusion.__all__) <= listed


def test_the_picture_names_every_part():
    """A module that the docs do not place is one that a newcomer cannot place either."""
    folders = (p.parent for p in ROOT.glob("*/__init__.py"))
    parts = [p.name for p in ROOT.glob("[a-z]*.py")] + [f"{p.name}/" for p in folders]
    page = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [part for part in sorted(parts) if part not in page] == []
