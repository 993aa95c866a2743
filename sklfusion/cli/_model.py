"""Saved models as commands load them, and the money that they may spend."""

from dataclasses import dataclass
from typing import Annotated

import typer

from sklfusion.cli._options import Budget, OptionGroup, Prices, read_prices
from sklfusion.cli._tables import check_source
from sklfusion.exceptions import SklFusionError

Endpoints = Annotated[
    list[str] | None,
    typer.Option("--endpoint", help="Address that the model may send to; can be given again."),
]


@dataclass
class MoneyOptions(OptionGroup):
    """What the LLM of a saved model may cost from now on."""

    prices: Prices = None
    budget: Budget = None

    def told(self, classifier):
        """Tell these to what asks an LLM inside of a model."""
        from sklfusion.llm.endpoint import endpoint_of

        asking = _asking(classifier)
        if not asking:
            self.refuse_others(because="the model asks no LLM")
        for part in asking:
            if self.prices is not None:
                part.set_params(prices=read_prices(self.prices, endpoint_of(part).model))
            if self.budget is not None:
                if part.prices is None:
                    raise SklFusionError("--budget is money, which needs --prices IN,OUT.")
                part.set_params(budget=self.budget)
        return classifier


def quiet_model(model, verbose=0):
    """Tell the parts of ours in a model how much to tell of their work; return the model."""
    for part in _inside(model):
        if type(part).__module__.startswith("sklfusion.") and hasattr(part, "verbose"):
            part.verbose = verbose
    return model


def load_model(path, *, memory=None, endpoints=(), money=None, screen=None):
    """Return a saved model.

    Parameters
    ----------
    path : Path
        A file that ``sklfusion fit`` or ``persistence.save`` wrote.
    memory : str, optional
        Store to use in place of the model's own.
    endpoints : sequence of str
        Addresses that it may send to.
    money : MoneyOptions, optional
        Prices and budget from now on.
    screen : Screen, optional
        Says whether progress is told, and is told where replies are kept.
    """
    from sklfusion import persistence

    check_source(path, "sklfusion fit")
    if screen is not None and memory is None:
        screen.kept = ", ".join(persistence.info(path)["memory"])
    model = persistence.load(path, memory=memory, endpoints=endpoints or ())
    if screen is not None:
        quiet_model(model, screen.verbose)
    return model if money is None else money.told(model)


def _asking(value):
    """Return every estimator inside of a value that asks an LLM."""
    from sklfusion.scoring._base import BaseLLMEstimator

    return [part for part in _inside(value) if isinstance(part, BaseLLMEstimator)]


def _inside(value):
    """Yield every estimator inside of a value."""
    from sklearn.base import BaseEstimator

    if isinstance(value, BaseEstimator):
        yield value
        yield from _inside(list(vars(value).values()))
    elif isinstance(value, dict):
        yield from _inside(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _inside(part)
