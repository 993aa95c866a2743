"""Options that commands share: each class is a group that a command asks for by one parameter."""

import json
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sklfusion._delimited import SEPARATOR
from sklfusion.cli._formats import split_list, told_of_damage
from sklfusion.cli._tables import check_source, read_table
from sklfusion.exceptions import SklFusionError
from sklfusion.models import DEFAULT_EMBEDDER, DEFAULT_LLM

#: Where replies and embeddings are kept unless told otherwise: each command is a new process.
DEFAULT_MEMORY = "~/.cache/sklfusion"
#: Stands for "leave it out" in ``--llm``, ``--embedder`` and ``--memory``.
NOTHING = "none"


def _panel(name):
    """Return ``typer.Option`` with its place on the help page."""

    def option(*names, **settings):
        return typer.Option(*names, rich_help_panel=name, **settings)

    return option


_output, _table = _panel("Output"), _panel("Table")
TablePath = Annotated[
    Path, typer.Argument(help="CSV, TSV, JSONL or Parquet, or .gz of one.", show_default=False)
]
ModelPath = Annotated[Path, typer.Argument(help="A file that fit wrote.", show_default=False)]
OutputPath = Annotated[
    Path | None,
    _output("--output", "-o", help="Table to write, by its ending; else CSV on the terminal."),
]
ExcelSafe = Annotated[
    bool, _output("--excel-safe", help="Put ' before cells that begin like a formula.")
]
TextColumn = Annotated[str, _table("--text", help="Column of the texts.")]
LabelColumn = Annotated[
    str | None,
    _table("--label", help="Column of the labels; with --multilabel also several of 0 and 1."),
]
Memory = Annotated[
    str | None,
    typer.Option(
        envvar="SKLFUSION_MEMORY",
        help="Folder that keeps replies, so that none is paid twice; or none.",
    ),
]
OtherMemory = Annotated[
    str | None, typer.Option(help="Folder to use in place of the model's own memory.")
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


class OptionGroup:
    """Options that know which of them the user set."""

    def set_ones(self):
        """Return the names of options that differ from their defaults, as they are typed."""
        changed = [f.name for f in fields(self) if getattr(self, f.name) != f.default]  # type: ignore[arg-type]
        return [f"--{name.replace('_', '-')}" for name in changed]

    def refuse_others(self, *allowed, because):
        """Raise if another option than ``allowed`` is set: it would have no effect."""
        idle = [name for name in self.set_ones() if name not in allowed]
        if idle:
            raise SklFusionError(f"{', '.join(idle)}: no effect, {because}. Leave it out.")


_llm, _task, _encoder = _panel("LLM"), _panel("Task"), _panel("Encoder")
Prices = Annotated[
    str | None,
    _llm(help="Per million tokens: IN,OUT or IN,OUT,CACHED; or a JSON file."),
]
Budget = Annotated[float | None, _llm(min=0, help="Most money to spend.")]


@dataclass
class EndpointOptions(OptionGroup):
    """Where the LLM is asked, and for how much."""

    llm: Annotated[str, _llm(help="provider/model, local/..., or none.")] = DEFAULT_LLM
    base_url: Annotated[
        str | None, _llm(help="Another address that speaks the OpenAI protocol.")
    ] = None
    api_key_env: Annotated[
        str | None, _llm(help="Name of the variable that holds the key.", metavar="NAME")
    ] = None
    prices: Prices = None
    budget: Budget = None

    def endpoint(self):
        """Return the endpoint, or None for ``--llm none``."""
        from sklfusion.llm.endpoint import LLMEndpoint

        if self.llm == NOTHING:
            self.refuse_others("--llm", because="no LLM is asked")
            return None
        if self.llm.startswith("local/"):
            because = f"{self.llm} runs in this process"
            self.refuse_others("--llm", "--prices", "--budget", because=because)
        if self.budget is not None and self.prices is None:
            raise SklFusionError("--budget is money, which needs --prices IN,OUT.")
        return LLMEndpoint(
            self.llm,
            base_url=self.base_url,
            api_key_env=self.api_key_env,
            prices=None if self.prices is None else read_prices(self.prices, self.llm),
            budget=self.budget,
        )


@dataclass
class TaskOptions(OptionGroup):
    """What is asked about each text, and how labels are written."""

    classes: Annotated[
        str | None, _task(help="Names of the classes, by commas.", metavar="A,B,...")
    ] = None
    class_descriptions: Annotated[
        Path | None,
        _task(help="JSON {class: words}, or a table with columns class and description."),
    ] = None
    instructions: Annotated[str | None, _task(help="What the texts are and what to decide.")] = (
        None
    )
    multilabel: Annotated[
        bool, _task("--multilabel", help="A text can have several labels, or none.")
    ] = False
    separator: Annotated[str, _task(help="Between several labels in a cell.")] = SEPARATOR

    def settings(self):
        """Return ``classes``, ``class_descriptions`` and ``instructions`` of an estimator."""
        if self.separator != SEPARATOR and not self.multilabel:
            raise SklFusionError("--separator has no effect without --multilabel.")
        described = self.class_descriptions
        return {
            "classes": split_list(self.classes) if self.classes else None,
            "class_descriptions": None if described is None else read_descriptions(described),
            "instructions": self.instructions,
        }


class FineTune(StrEnum):
    """Whether, and how, the encoder is trained."""

    auto = "auto"
    yes = "yes"
    no = "no"
    contrastive = "contrastive"


@dataclass
class EncoderOptions(OptionGroup):
    """The encoder, and whether it is trained."""

    embedder: Annotated[str, _encoder(help="Embedded model, hub id, folder, or none.")] = (
        DEFAULT_EMBEDDER
    )
    fine_tune: Annotated[
        FineTune, _encoder(help="Train it on the labels; auto: from 2,000 rows on.")
    ] = FineTune.auto

    def settings(self):
        """Return ``embedder`` and ``fine_tune`` of an estimator."""
        if self.embedder == NOTHING:
            self.refuse_others("--embedder", because="there is no encoder")
            return {"embedder": None}
        ways = {FineTune.yes: True, FineTune.no: False}
        return {
            "embedder": self.embedder,
            "fine_tune": ways.get(self.fine_tune, self.fine_tune.value),
        }


def estimator_settings(task, llm, encoder):
    """Return the keywords of an AutoFusionClassifier that these options stand for."""
    settings = {"llm": llm.endpoint(), **task.settings(), **encoder.settings()}
    if settings["llm"] is None:
        task.refuse_others(
            *("--classes", "--multilabel", "--separator"), because="no LLM is asked"
        )
        if settings["embedder"] is None:
            raise SklFusionError("--llm none and --embedder none leave nothing to learn from.")
    return settings


def read_prices(said, llm):
    """Return the numbers of ``--prices``, or what a JSON file holds for this LLM."""
    path = Path(said)
    if path.suffix.lower() != ".json":
        try:
            prices = [float(part) for part in split_list(said)]
        except ValueError:
            prices = []
        if len(prices) not in (2, 3):
            raise SklFusionError(
                f"--prices {said!r}; wanted IN,OUT or IN,OUT,CACHED per million tokens, such as "
                "0.05,0.4, or a .json file."
            )
        return prices
    held = _read_json(path)
    prices = held if "input" in held else held.get(llm)
    if prices is None:
        raise SklFusionError(f"{path} has neither 'input' and 'output' nor prices of {llm!r}.")
    return prices


def read_descriptions(path):
    """Return class to description, from JSON or a table."""
    if path.suffix.lower() == ".json":
        return _read_json(path)
    frame = read_table(path, ["class", "description"])
    return dict(zip(frame["class"], frame["description"], strict=True))


def _read_json(path):
    check_source(path)
    with told_of_damage(path):
        held = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(held, dict):
        raise SklFusionError(f"{path} holds no JSON object but {type(held).__name__}.")
    return held
