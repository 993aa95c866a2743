"""The texts that `sklfusion serve --label` has a person label."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from sklfusion.cli._formats import split_list
from sklfusion.cli._options import DEFAULT_MEMORY, NOTHING, OptionGroup
from sklfusion.cli._tables import check_new_columns, read_table
from sklfusion.exceptions import SklFusionError

_PANEL = "Labelling"


@dataclass
class LabelOptions(OptionGroup):
    """A pool to label."""

    label: Annotated[
        Path | None,
        typer.Option(
            help="Table of texts to label on the page; answers go to FILE.labels.jsonl.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    text: Annotated[
        str, typer.Option("--text", help="Column of the texts.", rich_help_panel=_PANEL)
    ] = "text"
    classes: Annotated[
        str | None,
        typer.Option(
            help="Names of the classes, by commas; the page can add others.",
            metavar="A,B,...",
            rich_help_panel=_PANEL,
        ),
    ] = None
    multilabel: Annotated[
        bool,
        typer.Option(
            "--multilabel",
            help="A text can have several labels, or none.",
            rich_help_panel=_PANEL,
        ),
    ] = False
    seed: Annotated[int, typer.Option(help="Seed of the drawing.", rich_help_panel=_PANEL)] = 0

    def desk_maker(self, memory):
        """Return what makes the desk of a model, or None without ``--label``.

        The table is read now, so that what is wrong with it is told before a model is loaded.
        """
        if self.label is None:
            self.refuse_others(because="--label is not given")
            return None
        from sklfusion._text_input import replace_surrogates
        from sklfusion.labelling import LabelDesk
        from sklfusion.labelling._exchange import ADDED_COLUMNS

        frame = read_table(self.label, [self.text])
        check_new_columns(frame, ADDED_COLUMNS)
        frame = frame[[isinstance(t, str) and bool(t.strip()) for t in frame[self.text]]]
        if frame.empty:
            raise SklFusionError(f"{self.label} has no text in column {self.text!r}.")
        columns = {name: frame[name].tolist() for name in frame.columns}
        columns[self.text] = replace_surrogates(columns[self.text], caller="serve --label")
        path = self.label.with_name(f"{self.label.name}.labels.jsonl")

        def make(model):
            return LabelDesk(
                columns[self.text],
                path,
                _classifier(memory) if model is None else model,
                fitted=model,
                classes=self._class_names(model),
                multilabel=self._is_multilabel(model),
                random_state=self.seed,
                columns=columns,
            )

        return make

    def _class_names(self, model):
        known = [] if model is None else [str(label) for label in model.classes_]
        named = split_list(self.classes) if self.classes else []
        return list(dict.fromkeys([*known, *named]))

    def _is_multilabel(self, model):
        from sklfusion.batch._scorer import is_multilabel_model

        if model is None:
            return self.multilabel
        if self.multilabel and not is_multilabel_model(model):
            raise SklFusionError("--multilabel: the model gives one label to a text.")
        return is_multilabel_model(model)


def _classifier(memory):
    """Return what is fitted where no model is named: the encoder, and no LLM that would cost."""
    from sklfusion.auto import AutoFusionClassifier

    place = None if memory == NOTHING else memory or DEFAULT_MEMORY
    return AutoFusionClassifier(llm=None, memory=place, random_state=0)
