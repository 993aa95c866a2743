"""Write the figures of README.md, docs/*.md and benchmarks/README.md from benchmarks/results.

    python -m benchmarks.readme            # rewrite the blocks
    python -m benchmarks.readme --check    # exit with status 1 if a block is out of date, a
                                           # program is not listed or a file has no program;
                                           # says which results are stale, and by what

A line under each block says by what its figures were made, and whether the code has changed since
(`benchmarks._provenance`). A block stands between ``<!-- figures: NAME -->`` and
``<!-- /figures -->``; NAME is a function below. So no figure in the docs is typed by hand.
"""

import importlib
import io
import re
import sys
from contextlib import redirect_stdout
from functools import partial

from benchmarks import _common, _programs, _provenance
from benchmarks._common import ROOT, print_table

_BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- /figures -->)", re.DOTALL)


def _table(header, rows):
    buffer = io.StringIO()
    with redirect_stdout(buffer):
        print_table(header, rows)
    return buffer.getvalue()


_read = set()  # results that blocks were filled from since it was last emptied


def read_json(name):
    """Results of a program; remembers that they were asked for."""
    _read.add(name)
    return _common.read_json(name)


def demo():
    """The table of ``sklfusion demo``."""
    from benchmarks.quality.demo import table_rows

    results = read_json("demo")
    return _table(["labelled rows", *results["scores"]], table_rows(results))


def _typed(name):
    """What a command of the page for beginners printed; `typed` at its end says by what."""
    return f"```text\n{_common.read_json('getting_started')['printed'][name]}\n```\n"


def _experiment(name):
    """The table of one program of `TABLES`."""
    program = importlib.import_module(f"benchmarks.quality.{name}")
    return _table(*program.table(read_json(name)))


def cascade_budgets():
    """What a cascade makes of a budget."""
    from benchmarks.quality.cascade import budget_table

    return _table(*budget_table(read_json("cascade")))


def noise_by_set():
    """Ways to learn from LLM labels, set by set."""
    from benchmarks.quality.noise_sidyp import by_set_table

    return _table(*by_set_table(read_json("noise_sidyp")))


def noise_steps():
    """SiDyP's correction and diffusion, two by two."""
    from benchmarks.quality.noise_sidyp import steps_table

    return _table(*steps_table(read_json("noise_sidyp")))


def noise_several():
    """The same with the labels of all LLMs of a set."""
    from benchmarks.quality.noise_sidyp import several_table

    return _table(*several_table(read_json("noise_sidyp")))


def noise_tuned():
    """A fine-tuned encoder, and the same with the frequencies of the labels divided out."""
    from benchmarks.quality.noise_sidyp import tuned_table

    return _table(*tuned_table(read_json("noise_sidyp")))


def noise_steps_gain():
    """SiDyP's correction and diffusion, two by two: means over families."""
    from benchmarks.quality.noise_sidyp import steps_gain_table

    return _table(*steps_gain_table(read_json("noise_sidyp")))


def paper_reuters_full():
    """Reuters, the paper's model outputs, at every training fraction."""
    from benchmarks.quality.paper_replay import reuters_table

    return _table(*reuters_table(read_json("paper_replay")))


def paper_agnews():
    """AG News by number of labelled rows."""
    from benchmarks.quality.paper_replay import agnews_table

    return _table(*agnews_table(read_json("paper_replay")))


def fine_tune():
    """The fine-tuned encoder alone and fused."""
    from benchmarks.quality.fine_tune import table_of

    return _table(*table_of(read_json("fine_tune")))


def speed_embedding():
    """`RobertaEmbedder` beside sentence-transformers."""
    from benchmarks.speed.embedding import accuracy_line, table

    results = read_json("speed_embedding")
    return f"{_table(*table(results))}\n{accuracy_line(results)}\n"


def speed_head():
    """A fit of the head beside logistic regression and stacking."""
    from benchmarks.speed.head import table

    return _table(*table(read_json("speed_head")))


def speed_head_lines():
    """The lines that a fit of the head must hold."""
    from benchmarks.speed.head import lines_table

    return _table(*lines_table(read_json("speed_head")))


def _of(program, function):
    """A table of a program in ``quality`` beside ``table(results)``."""
    module = importlib.import_module(f"benchmarks.quality.{program}")
    return _table(*getattr(module, function)(read_json(program)))


def acquire_sets():
    """Strategies of labelling on each data set, and what shares from their rows cover."""
    from benchmarks.quality.acquire import table_of_sets

    return _table(*table_of_sets(read_json("acquire")))


def decision_models():
    """Decision models on ordered classes, calibrated on 50 labels."""
    from benchmarks.quality.decision_models import table

    return _table(*table(read_json("decision_models"), sizes=(50,)))


def decision_models_lines():
    """What was to be held with 50 labels, and what came."""
    from benchmarks.quality.decision_models import lines

    return _table(*lines(read_json("decision_models")))


def decision_models_others():
    """Soft scores of other models on classes without order."""
    from benchmarks.quality.decision_models import table

    return _table(*table(read_json("decision_models"), ordered=False, sizes=(20, 50)))


def speed_first():
    """A new process to its first embedding and its first score."""
    from benchmarks.speed.first import table

    return _table(*table(read_json("speed_first")))


def speed_local_llm():
    """The local LLM in batches beside text by text and skorch."""
    from benchmarks.speed.local_llm import load_line, table

    results = read_json("speed_local_llm")
    return f"{_table(*table(results))}\n{load_line(results)}\n"


def peers():
    """The reliability battery on the peers, row by row."""
    from benchmarks.load.peers import table

    return _table(*table(read_json("peers")))


def peers_causes():
    """How many rows each cause fails in each library."""
    from benchmarks.load._peer_causes import table

    return _table(*table(read_json("peers")))


def peers_summary():
    """Causes of failure, and how many rows of the battery each library passes."""
    from benchmarks.load.peers import summary

    return _table(*summary(read_json("peers")))


def throughput():
    """The load figures."""
    rows = read_json("throughput")["rows"]
    header = ["", "run", "line to hold", "got"]
    return _table(header, [[row["id"], row["run"], row["line"], row["got"]] for row in rows])


def batch():
    """Many texts on two Dask workers."""
    from benchmarks.load.batch import table

    return _table(*table(read_json("batch")))


def latency():
    """Accuracy, cost and latency of encoder, LLM, fusion and cascade."""
    from benchmarks.load.latency import table

    return _table(*table(read_json("latency")))


def _fusionbench(methods=_programs.FUSIONBENCH):
    """Name to stored entry of methods of FusionBench."""
    from benchmarks.fusionbench._entries import module, results_of

    return {module(m).NAME: read_json(results_of(m)) for m in methods}


def fusionbench():
    """The stored methods, and fusion minus each."""
    from benchmarks.fusionbench._table import CHOSEN, methods_table, told

    entries = _fusionbench()
    return f"{_table(*methods_table(entries))}\n{told(entries)}\n\n{CHOSEN}\n"


def fusionbench_margin(columns=None):
    """Fusion over the better part, known in hindsight, by number of labelled rows."""
    from benchmarks.fusionbench._table import margin_table, told

    entries = _fusionbench(("llm", "encoder", "fusion"))
    header, rows = margin_table(entries)
    shown = _table(header[:columns], [row[:columns] for row in rows])
    return f"{shown}\n{told(entries)}\n"


def serve():
    """The service under load."""
    from benchmarks.load.serve import table

    return _table(*table(read_json("serve")))


def local_decision():
    """Typed questions to the embedded LLM, by words and by letters."""
    from benchmarks.quality.local_decision import table, told

    results = read_json("local_decision")
    return f"{_table(*table(results))}\n{told(results)}\n"


def domain_signals():
    """What tells of a drift without labels, and how well."""
    from benchmarks.quality.domain_shift import signals_table

    return _table(*signals_table(read_json("domain_shift")))


def trusts_labels():
    """Labels without a positive row: one trust for all labels beside the LLM alone."""
    from benchmarks.quality.trusts import labels_table

    return _table(*labels_table(read_json("trusts")))


def trusts_llms():
    """Several LLMs, some idle: all of them beside ways to leave some out."""
    from benchmarks.quality.trusts import llms_table

    return _table(*llms_table(read_json("trusts")))


#: Programs in ``quality`` whose one table is ``table(results)``.
TABLES = (
    *("ablation", "acquire", "architecture", "budget_plan", "cascade", "domain_shift"),
    *("distill", "few_shot", "fusion_parts", "label_damage", "label_repair"),
    *("languages", "long_texts", "no_llm", "noise_cost", "noise_sidyp", "prompts"),
    *("semi_supervised", "shares", "tuned_damage", "two_rates"),
)
#: Programs in ``quality`` with further tables: ``sets_table(results)`` is block ``..._sets``.
FURTHER = {
    "distill": ("sets", "speed"),
    "label_damage": ("sets",),
    "label_repair": ("parts", "sets", "selectors", "repeats"),
    "tuned_damage": ("sets",),
}


def alignment():
    """Label distributions of LLMs against people, all data sets."""
    from benchmarks.quality.alignment import show

    results = read_json("alignment")
    buffer = io.StringIO()
    with redirect_stdout(buffer):
        for name, result in results["datasets"].items():
            show(name, result)
    gain = results["prefix_gain"]
    buffer.write(
        f"\nReading the shared beginning once takes {gain['tokens_ratio']:.0f} times fewer tokens "
        f"and {gain['cpu_ratio']:.0f} times less CPU time than asking every question from the "
        "start.\n"
    )
    return buffer.getvalue().strip() + "\n"


def promised_answers():
    """Promised accuracy: kept, and how much is answered."""
    return _promised("accuracy")


def promised_savings():
    """Promised losses of a cascade: kept, and how much is saved."""
    return _promised("loss")


def _promised(kind):
    from benchmarks.quality.promises import table

    header, rows = table(read_json("promises"))
    rows = [row for row in rows if row[0].startswith(kind)]
    shown = len(header) if kind == "accuracy" else len(header) - 1
    header[7] = "answered" if kind == "accuracy" else "saved"
    return _table(header[:shown], [row[:shown] for row in rows])


def programs():
    """Every program in benchmarks/, what it writes and where that is shown."""
    return _table(*_programs.table(pages()[1:], sources()))


def sources():
    """Block that stands in a page to the names of the results that it is filled from."""
    shown = {m[2] for page in pages() for m in _BLOCK.finditer(page.read_text(encoding="utf-8"))}
    return {name: figures(name)[1] for name in shown - {"programs"}}


def figures(name):
    """Text of a block, and the names of the results that it is filled from."""
    _read.clear()
    return BLOCKS[name](), set(_read)


def picture(*names):
    """A block for a page that shows a picture of results and no table of them."""
    for name in names:
        read_json(name)
    return ""


def unsaid():
    """Pictures of results on a page where no block says by what they were made."""
    found = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        said = set().union(
            *(figures(m[2])[1] for m in _BLOCK.finditer(text) if m[2] != "programs")
        )
        for image in re.findall(r"!\[[^]]*\]\(([\w./]*images/\w+\.png)\)", text):
            name = _programs.results_of((page.parent / image).resolve())
            if name and name not in said:
                found.append(f"{page.name}: {image}")
    return found


def stale():
    """Results to the files of the package that have changed since they were measured."""
    names = sorted(path.stem for path in _common.RESULTS.glob("*.json"))
    found = {name: _provenance.changed(_common.read_made(name)) for name in names}
    return {name: files for name, files in found.items() if files}


BLOCKS = {
    "acquire_sets": acquire_sets,
    "alignment": alignment,
    "batch": batch,
    "cascade_budgets": cascade_budgets,
    "decision_models": decision_models,
    "decision_models_lines": decision_models_lines,
    "decision_models_others": decision_models_others,
    "demo": demo,
    "fine_tune": fine_tune,
    "latency": latency,
    "fusionbench": fusionbench,
    "fusionbench_gain": partial(
        fusionbench_margin, columns=-1
    ),  # without the pairs that are behind
    "fusionbench_margin": fusionbench_margin,
    "local_decision": local_decision,
    "noise_by_set": noise_by_set,
    "noise_several": noise_several,
    "noise_steps": noise_steps,
    "noise_steps_gain": noise_steps_gain,
    "noise_tuned": noise_tuned,
    "paper_agnews": paper_agnews,
    "paper_reuters_full": paper_reuters_full,
    "peers": peers,
    "picture_of_fusionbench": partial(
        picture, "fusionbench_llm", "fusionbench_encoder", "fusionbench_fusion"
    ),
    "picture_of_paper_replay": partial(picture, "paper_replay"),
    "peers_causes": peers_causes,
    "peers_summary": peers_summary,
    "programs": programs,
    "promised_answers": promised_answers,
    "promised_savings": promised_savings,
    "speed_embedding": speed_embedding,
    "speed_head": speed_head,
    "speed_head_lines": speed_head_lines,
    "serve": serve,
    "speed_first": speed_first,
    "speed_local_llm": speed_local_llm,
    "throughput": throughput,
    "domain_signals": domain_signals,
    "trusts_labels": trusts_labels,
    "trusts_llms": trusts_llms,
    "typed": partial(picture, "getting_started"),
    **{
        f"typed_{name}": partial(_typed, name)
        for name in ("estimate", "fit", "evaluate", "predict")
    },
    **{name: partial(_experiment, name) for name in TABLES},
    **{
        f"{name}_{kind}": partial(_of, name, f"{kind}_table")
        for name, kinds in FURTHER.items()
        for kind in kinds
    },
}


def pages():
    """The files that may hold blocks."""
    here = ROOT / "benchmarks" / "README.md"
    return [
        here,
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").glob("*.md")),
    ]


def render(text):
    """Return ``text`` with every block rewritten."""
    return _BLOCK.sub(lambda m: f"{m[1]}\n{_filled(m[2])}\n{m[3]}", text)


def _filled(name):
    text, results = figures(name) if name != "programs" else (programs(), ())
    records = [_common.read_made(result) for result in sorted(results)]
    parts = [text, *(f"{line}\n" for line in _provenance.notes(records))]
    return "\n".join(part for part in parts if part)


def main(check=False):
    """Rewrite or check all pages; returns those out of date and the files of no program."""
    old = [*_programs.orphans(), *unsaid()]
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if render(text) != text:
            old.append(page.relative_to(ROOT).as_posix())
            if not check:
                page.write_text(render(text), encoding="utf-8")
    for name, files in stale().items():
        print(f"stale: {name}; changed: {', '.join(files)}")
    print("out of date: " + ", ".join(old) if old else "all blocks are up to date")
    return old


if __name__ == "__main__":
    check = "--check" in sys.argv
    sys.exit(bool(main(check)) and check)
