"""``sklfusion serve``: a saved model behind HTTP, with its page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from sklfusion._progress import progress_logger
from sklfusion.cli._app import command
from sklfusion.cli._label import LabelOptions
from sklfusion.cli._model import Endpoints, MoneyOptions, quiet_model
from sklfusion.cli._options import OptionGroup, OtherMemory
from sklfusion.cli._tables import check_source


@dataclass
class ServeLimits(OptionGroup):
    """How much is taken at once."""

    max_queue: Annotated[int, typer.Option(min=1, help="Most texts that wait; then 429.")] = 1024
    max_batch: Annotated[int, typer.Option(min=1, help="Most texts in one call.")] = 64
    max_mb: Annotated[float, typer.Option(min=0.001, help="Most megabytes of a request.")] = 4.0
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for a request; then 504.")] = 60

    def settings(self):
        """Return the keywords of the service's settings."""
        return {
            "max_queue": self.max_queue,
            "max_batch": self.max_batch,
            "max_body": int(self.max_mb * 2**20),
            "timeout": self.timeout,
        }


@dataclass
class ServeAccess(OptionGroup):
    """Where it listens, and whom it answers."""

    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8000
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="Host name that is answered, as behind a proxy; can be given again."),
    ] = None
    token_env: Annotated[
        str | None,
        typer.Option(help="Name of the variable that holds the token callers must show."),
    ] = None


@command("serve")
def serve_command(
    model: Annotated[
        Path | None,
        typer.Argument(
            help="A file that fit wrote; with --label it may be left out.", show_default=False
        ),
    ] = None,
    *,
    access: ServeAccess,
    limits: ServeLimits,
    mode: Annotated[
        str,
        typer.Option(help="strict: its own classes only. open: an LLM answers other questions."),
    ] = "strict",
    zero_shot_llm: Annotated[
        str | None,
        typer.Option(help="provider/model for --mode open; by default the model's own."),
    ] = None,
    endpoint: Endpoints = None,
    memory: OtherMemory = None,
    money: MoneyOptions,
    pool: LabelOptions,
):
    """Serve a saved model: /predict, /v1/decisions, /v1/systemone, /metrics, and a page at /.

    With --label the page also takes labels of texts, and fits a model on them.
    """
    from sklfusion.serve import ServiceSettings, serve_file

    if model is None and pool.label is None:
        raise typer.BadParameter("name a model, or texts with --label.", param_hint="MODEL")
    if model is None:
        money.refuse_others(because="no model is named")
    else:
        check_source(model, "sklfusion fit")
    desk = pool.desk_maker(memory)
    if model is not None:  # libraries and encoder take seconds, in which nothing would be seen
        progress_logger.info("loading %s", model.name)
    named = access.allowed_host
    settings = ServiceSettings(
        name=(model or pool.label or Path()).stem,
        mode=mode,
        zero_shot=zero_shot_llm,
        token_env=access.token_env,
        hosts=None if named is None else tuple(name.lower() for name in named),
        **limits.settings(),
    )
    serve_file(
        model,
        settings,
        host=access.host,
        port=access.port,
        endpoints=endpoint or (),
        memory=memory,
        desk=desk,
        prepare=lambda loaded: money.told(quiet_model(loaded)),
        echo=lambda line: print(line, flush=True),
    )
