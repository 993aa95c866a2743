"""Results say by what they were made, and which of them are older than the code."""

import json
import re

import pytest

_provenance = pytest.importorskip("benchmarks._provenance")
from benchmarks import _common, readme  # noqa: E402

PACKAGE = {
    "benchmarks/quality/probe.py": '''"""A program."""
from typing import TYPE_CHECKING
from sklfusion import Fusion
if TYPE_CHECKING:
    from sklfusion._kind import Kind
WORKER = ["-m", "benchmarks._worker"]
def draw():
    from sklfusion.plotting import tidy
''',
    "benchmarks/_worker.py": "from sklfusion.noise import Repair\n",
    "sklfusion/__init__.py": "",
    "sklfusion/__init__.pyi": "from sklfusion.fusion import Fusion as Fusion\n",
    "sklfusion/_kind.py": "class Kind: ...\n",
    "sklfusion/_late.py": "LATE = 1\n",
    "sklfusion/plotting/__init__.pyi": "from sklfusion.plotting._look import tidy as tidy\n",
    "sklfusion/plotting/_look.py": "from sklfusion._kind import Kind\n",
    "sklfusion/fusion/__init__.py": '"""A wing."""\n',
    "sklfusion/fusion/__init__.pyi": "from sklfusion.fusion._trust import Fusion as Fusion\n",
    "sklfusion/fusion/_other.py": "OTHER = 1\n",
    "sklfusion/fusion/_trust.py": '''"""Trust."""
START = 0.5  # of the encoder
class Fusion:
    """Fuse."""
    def fit(self):
        """Learn."""
        from sklfusion import _late
        return f"{_late.LATE:.1f}", None
''',
    "sklfusion/noise/__init__.py": "from sklfusion.noise._repair import Repair\n",
    "sklfusion/noise/_repair.py": "class Repair: ...\n",
}


@pytest.fixture
def root(tmp_path):
    for file, text in PACKAGE.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    return tmp_path


@pytest.fixture
def made(root):
    return {
        "program": "quality.probe",
        "date": "2026-11-29",
        "seeds": "draws 0 to 9",
        "interval": "t over data sets",
        "code": _provenance.code_of("quality.probe", root=root),
    }


def test_the_code_is_what_the_program_reaches(made):
    """By stubs, in functions, in processes that it starts; not what checkers or pictures need."""
    assert list(made["code"]) == [
        "benchmarks/_worker.py",
        "benchmarks/quality/probe.py",
        "sklfusion/_late.py",
        "sklfusion/fusion/_trust.py",
        "sklfusion/noise/_repair.py",
    ]


def test_the_training_of_an_encoder_counts_where_it_is_asked_for(root):
    """Elsewhere the encoder is frozen, and how it would be trained moves no figure."""
    training = root / "sklfusion/embedding/_finetune.py"
    training.parent.mkdir()
    training.write_text("RATE = 1\n")
    (root / "sklfusion/embedding/__init__.py").write_text("")
    program = root / "benchmarks/quality/probe.py"
    text = program.read_text() + "def embed(how=None):\n    "
    text += "from sklfusion.embedding._finetune import RATE\n"
    name = "sklfusion/embedding/_finetune.py"
    program.write_text(text)
    assert name not in _provenance.code_of("quality.probe", root=root)
    program.write_text(text + "embed(how='fine_tune')\n")
    assert name in _provenance.code_of("quality.probe", root=root)


@pytest.mark.parametrize(
    ("before", "after"),
    [("0.5", "0.6"), (", None", ", 1"), (":.1f", ":.2f"), ("def fit(self", "def fit(self, x")],
)
def test_a_change_of_the_code_makes_a_result_stale(root, made, before, after):
    """A constant, a value, a format, a parameter."""
    file = root / "sklfusion/fusion/_trust.py"
    text = file.read_text()
    assert _provenance.changed(made, root) == []
    assert "changed" not in _provenance.notes([made], root)[0]
    file.write_text(text.replace(before, after))
    assert _provenance.changed(made, root) == ["sklfusion/fusion/_trust.py"]
    assert "the code that it ran through has changed" in _provenance.notes([made], root)[0]


def test_results_of_one_program_share_a_line(root, made):
    """It is stale if one of them is."""
    [fresh] = _provenance.notes([made, made], root)
    old = made | {"date": "2026-11-01", "code": made["code"] | {"sklfusion/_late.py": "0" * 12}}
    [line] = _provenance.notes([made, old], root)
    assert fresh.startswith("*`quality.probe`: draws 0 to 9; t over data sets; code ")
    assert "Measured on 2026-11-01" in line
    assert len(_provenance.notes([made, made | {"seeds": "seed 0"}], root)) == 2


def test_words_make_no_result_stale(root, made):
    """Docstrings, comments, layout, and files that it does not reach."""
    file = root / "sklfusion/fusion/_trust.py"
    text = file.read_text().replace("Learn.", "Learn it.").replace("  # of the encoder", "\n")
    file.write_text(text.replace('    """Fuse."""\n', ""))
    (root / "sklfusion/fusion/_other.py").write_text("OTHER = 2\n")
    (root / "sklfusion/plotting.py").write_text("")
    assert _provenance.changed(made, root) == []


def test_a_file_that_is_gone_makes_a_result_stale(root, made):
    """There is nothing left to compare with."""
    (root / "sklfusion/_late.py").unlink()
    assert _provenance.changed(made, root) == ["sklfusion/_late.py"]


def test_what_is_kept_of_a_stale_run_leaves_the_whole_stale(tmp_path, monkeypatch):
    """Until everything is measured anew."""
    monkeypatch.setattr(_common, "RESULTS", tmp_path)
    monkeypatch.setattr(_common, "ROOT", tmp_path)
    said = {"seeds": "seed 0", "interval": "one machine"}
    path = _common.write_json("noise_cost", {"scores": [1]}, **said)
    written = json.loads(path.read_text())
    assert written["provenance"]["program"] == "quality.noise_cost"
    assert _common.read_json("noise_cost") == {"scores": [1]}
    assert _provenance.changed(written["provenance"]) == []
    written["provenance"]["code"]["sklfusion/noise/_sidyp.py"] = "0" * 12
    path.write_text(json.dumps(written))
    _common.write_json("noise_cost", {"scores": [1, 2]}, kept=True, **said)
    assert _provenance.changed(_common.read_made("noise_cost")) == ["sklfusion/noise/_sidyp.py"]
    _common.write_json("noise_cost", {"scores": [3, 2]}, **said)
    assert _provenance.changed(_common.read_made("noise_cost")) == []


def test_every_result_says_by_what_it_was_made():
    """Program, date, versions, seeds, interval and code; none of them empty."""
    lacking = {}
    for path in _common.RESULTS.glob("*.json"):
        made = _common.read_made(path.stem)
        wants = [name for name in _provenance.WANTED if not made.get(name)]
        if wants or not any(file.startswith("sklfusion/") for file in made["code"]):
            lacking[path.stem] = wants
    assert lacking == {}


def test_every_figure_says_by_what_it_was_made():
    """A line with program, seeds, interval and digest ends each block; pictures have theirs."""
    assert readme.unsaid() == []
    for page in readme.pages():
        for block in readme._BLOCK.finditer(page.read_text(encoding="utf-8")):
            if block[2] == "programs" or block[2].startswith("typed_"):
                continue  # what commands print is told of once, by the block `typed`
            results = readme.figures(block[2])[1]
            assert results, block[2]
            lines = re.findall(r"^\*`[\w.]+`: .+; .+; code [0-9a-f]{8}\.\*", block[0], re.M)
            programs = {_common.read_made(result)["program"] for result in results}
            assert len(lines) == len(programs), f"{page.name}: {block[2]}"


def test_a_picture_without_its_line_is_noticed(tmp_path, monkeypatch):
    """A page that shows a picture of results must say by what they were made."""
    page = readme.ROOT / "docs" / "index.md"
    bare = readme.ROOT / "docs" / "bare.md"
    text = re.sub(r"<!-- figures.*?/figures -->", "", page.read_text("utf-8"), flags=re.S)
    pages = [type("Page", (), {"name": "bare.md", "parent": bare.parent})]
    pages[0].read_text = lambda encoding: text
    monkeypatch.setattr(readme, "pages", lambda: pages)
    assert readme.unsaid() == ["bare.md: images/paper_replay.png"]


def test_stale_results_are_named_with_the_files(monkeypatch):
    """``--check`` says what has changed since each was measured."""
    real = _common.read_made
    made = {name: dict(real(name)) for name in (p.stem for p in _common.RESULTS.glob("*.json"))}
    made["demo"]["code"] = made["demo"]["code"] | {"sklfusion/_demo.py": "0" * 12}
    monkeypatch.setattr(_common, "read_made", made.get)
    assert "sklfusion/_demo.py" in readme.stale()["demo"]
