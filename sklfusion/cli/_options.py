"""Options that commands share: each class is a group that a command asks for by one parameter."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from sklfusion.exceptions import SklFusionError
from sklfusion.models import DEFAULT_EMBEDDER, DEFAULT_LLM

TablePath = Annotated[
    Path, typer.Argument(help="CSV, TSV, JSONL or Parquet, also .gz.", show_default=False)
]
ModelPath = Annotated[Path, typer.Argument(help="A file that fit wrote.", show_default=False)]
OutputPath = Annotated[
    Path | None, typer.Option("--output", "-o", help="File to write.", show_default=False)
]
TextColumn = Annotated[str, typer.Option("--text", help="Column of the texts.")]
LabelColumn = Annotated[str, typer.Option("--label", help="Column of the labels.")]
Memory = Annotated[
    Path | None,
    typer.Option(help="Folder that keeps replies, so that none is paid twice."),
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


@dataclass
class EndpointOptions:
    """Where the LLM is asked, and for how much."""

    llm: Annotated[
        str,
        typer.Option(help="provider/model, local/smollm2-135m, or none.", rich_help_panel="LLM"),
    ] = DEFAULT_LLM
    base_url: Annotated[
        str | None,
        typer.Option(help="Any address that speaks OpenAI's protocol.", rich_help_panel="LLM"),
    ] = None
    api_key_env: Annotated[
        str | None,
        typer.Option(help="Name of the variable that holds the key.", rich_help_panel="LLM"),
    ] = None
    prices: Annotated[
        str | None,
        typer.Option(
            help="INPUT,OUTPUT[,CACHED] per million tokens, or a JSON file.",
            rich_help_panel="LLM",
        ),
    ] = None
    budget: Annotated[
        float | None,
        typer.Option(min=0, help="Most money to spend; needs --prices.", rich_help_panel="LLM"),
    ] = None

    def endpoint(self):
        """Return the endpoint, or None for ``--llm none``."""
        from sklfusion.llm.endpoint import LLMEndpoint

        if self.llm == "none":
            return None
        return LLMEndpoint(
            self.llm,
            base_url=self.base_url,
            api_key_env=self.api_key_env,
            prices=None if self.prices is None else split_list(self.prices),
            budget=self.budget,
        )


@dataclass
class TaskOptions:
    """What is asked about each text."""

    classes: Annotated[
        str | None, typer.Option(help="Class names, by commas.", rich_help_panel="Task")
    ] = None
    instructions: Annotated[
        str | None,
        typer.Option(help="What the texts are and what to decide.", rich_help_panel="Task"),
    ] = None

    def settings(self):
        """Return the keywords of an estimator."""
        return {
            "classes": split_list(self.classes) if self.classes else None,
            "instructions": self.instructions,
        }


@dataclass
class EncoderOptions:
    """The encoder, and whether it is trained."""

    embedder: Annotated[
        str,
        typer.Option(help="Embedded model, hub id, folder, or none.", rich_help_panel="Encoder"),
    ] = DEFAULT_EMBEDDER
    fine_tune: Annotated[
        str, typer.Option(help="auto, yes, no or contrastive.", rich_help_panel="Encoder")
    ] = "no"

    def settings(self):
        """Return the keywords of an estimator."""
        ways = {"yes": True, "no": False, "auto": "auto", "contrastive": "contrastive"}
        if self.fine_tune not in ways:
            raise SklFusionError(f"--fine-tune {self.fine_tune}; it takes {', '.join(ways)}.")
        return {
            "embedder": None if self.embedder == "none" else self.embedder,
            "fine_tune": ways[self.fine_tune],
        }


def split_list(said):
    """Return the parts of an option between its commas."""
    return [part.strip() for part in said.split(",") if part.strip()]
