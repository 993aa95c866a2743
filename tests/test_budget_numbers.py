"""Budgets, prices and counts, in numbers that can be checked by hand."""

import math

import numpy as np
import pytest

from sklfusion._chat import Usage
from sklfusion.cascade import _budget
from sklfusion.llm._prices import Price, estimate_tokens, find_price
from sklfusion.llm._usage import Meter, UsageReport


class Priced:
    """A scorer that prices each text by its length and knows some texts already."""

    def __init__(self, stored=(), price=1.0):
        self.stored, self.price = set(stored), price

    def estimate(self, texts):
        new = [text for text in texts if text not in self.stored]
        cost = None if self.price is None else self.price * sum(map(len, new))
        return {"cost": cost, "requests": len(new)}


# ------------------------------------------------------------------------------ of a cascade


@pytest.mark.parametrize(
    ("budget", "price", "share"),
    [
        (None, 0.01, 1.0),
        (0.3, None, 0.3),
        (0, 0.01, 0.0),
        ({"money": 5}, 0.01, 0.5),  # 5 for 1,000 texts of .01: 500 of them
        ({"money": 20}, 0.01, 1.0),
        ({"money": 0}, 0.01, 0.0),
        ({"money": 5}, 0.0, 1.0),
    ],
)
def test_a_budget_is_a_largest_share(budget, price, share):
    """Money per 1,000 texts over the price of as many; never more than all."""
    assert _budget.largest_share(budget, price) == pytest.approx(share)


@pytest.mark.parametrize(
    "budget", [1.1, -0.1, True, math.nan, {"money": -1}, {"money": 1, "a": 2}]
)
def test_what_is_no_budget_is_refused(budget):
    """With what it needs."""
    with pytest.raises(ValueError, match=r"share of the texts in \[0, 1\], or \{'money': x\}"):
        _budget.read_budget(budget)


@pytest.mark.parametrize(("share", "n", "asked"), [(0.29, 100, 29), (0.7, 10, 7), (0.33, 10, 3)])
def test_a_share_is_rounded_down_but_not_by_its_last_bit(share, n, asked):
    """.29 * 100 is 28.999999999999996 in floating point and 29 texts all the same."""
    order = np.arange(n)[::-1]
    found = _budget.affordable(share, None, order, ["t"] * n)
    assert found.tolist() == order[:asked].tolist()


@pytest.mark.parametrize(("money", "asked"), [(1500, 3), (1499, 2), (250, 1), (249, 0), (9e9, 4)])
def test_money_buys_the_first_rows_whose_prices_fit(money, asked):
    """Four texts of price 1, 2, 3, 4 in this order; 1,500 per 1,000 are 6 for four."""
    texts = ["dddd", "a", "ccc", "bb"]
    order = np.array([1, 3, 2, 0])
    found = _budget.affordable({"money": money}, Priced(), order, texts)
    assert found.tolist() == order[:asked].tolist()


def test_stored_texts_cost_nothing():
    """So that more rows fit: the dearest is known, the other three cost 6."""
    texts = ["dddd", "a", "ccc", "bb"]
    order = np.array([0, 1, 2, 3])
    found = _budget.affordable({"money": 1500}, Priced(stored=["dddd"]), order, texts)
    assert found.tolist() == [0, 1, 2, 3]


def test_the_mean_price_is_that_of_new_distinct_texts():
    """Also where all of them are stored; blank texts are asked about by nobody."""
    texts = ["aaa", "aaaaa", "aaa", "  "]
    price = _budget.mean_price(Priced(stored=texts), texts)
    assert price == pytest.approx((4 + 6) / 2)  # with the line break that makes them new
    assert _budget.mean_price(Priced(price=None), texts) is None
    assert _budget.mean_price(object(), texts) is None


# ------------------------------------------------------------------------------ of an endpoint


def test_the_price_of_a_reply_is_per_million_tokens():
    """1,000 tokens in at 2, 400 of them cached at .5, 300 out at 10: .0044."""
    price = Price(2.0, 10.0, 0.5)
    assert price.cost(Usage(1000, 300, 400)) == pytest.approx((600 * 2 + 400 * 0.5 + 3000) / 1e6)
    assert price.halved().cost(Usage(1000, 300, 400)) == pytest.approx(0.0022)
    assert Price(2.0, 10.0).cost(Usage(1000, 300, 400)) == pytest.approx(0.005)
    assert price.cost(Usage(10, 1, 400)) == pytest.approx((10 * 0.5 + 10) / 1e6)
    assert price.cost(Usage(None, 300)) is None


def test_a_local_model_is_free_and_the_price_of_others_unknown():
    """No price is guessed."""
    assert find_price(None, local=True).cost(Usage(10, 10)) == 0
    assert find_price(None, local=False) is None
    assert find_price((1, 2, 0.5), local=False).cached == 0.5


def test_tokens_are_guessed_from_bytes():
    """Four ASCII letters a token, three bytes of other scripts; rounded up each."""
    assert [estimate_tokens(text) for text in ("", "a", "abcd", "abcde")] == [0, 1, 1, 2]
    assert estimate_tokens("日本語") == 3
    assert estimate_tokens("abé") == 2


def test_the_meter_adds_up_what_was_paid():
    """Two replies of 1,000 and 500 tokens at 1 and 2, one uncounted that the guess stands for."""
    report = UsageReport()
    meter = Meter(report, Price(1.0, 2.0))
    guess = Usage(100, 10)
    for _ in range(2):
        meter.paid(Usage(1000, 500), guess)
    meter.paid(Usage(), guess)
    assert (report.requests, report.uncounted) == (3, 1)
    assert (report.prompt_tokens, report.completion_tokens) == (2100, 1010)
    assert report.cost == pytest.approx((2100 + 2 * 1010) / 1e6)


@pytest.mark.parametrize(
    ("budget", "fit"),
    [({"requests": 3}, 3), ({"tokens": 330}, 3), ({"tokens": 329}, 2), ({"money": 0.00026}, 2)],
)
def test_no_more_is_set_aside_than_the_budget_holds(budget, fit):
    """Each request is expected to take 110 tokens, .00012 in money; the limit is allowed."""
    meter = Meter(UsageReport(), Price(1.0, 2.0), budget)
    guess = Usage(100, 10)
    refused = [meter.reserve(guess) is not None for _ in range(5)]
    assert refused == [False] * fit + [True] * (5 - fit)


def test_what_is_given_back_may_be_set_aside_again_and_what_was_paid_may_not():
    """Two of two under way; one comes back unpaid, the other paid."""
    meter = Meter(UsageReport(), None, {"requests": 2})
    guess = Usage(100, 10)
    assert [meter.reserve(guess) for _ in range(2)] == [None, None]
    assert meter.reserve(guess) is not None
    meter.give_back(guess)
    assert meter.reserve(guess) is None
    for _ in range(2):
        meter.give_back(guess)
        meter.paid(Usage(90, 3), guess)
    assert meter.reserve(guess) is not None


def test_dearer_replies_than_expected_use_up_the_budget():
    """Tokens count as they came, not as they were guessed."""
    meter = Meter(UsageReport(), None, {"tokens": 1000})
    guess = Usage(100, 10)
    assert meter.reserve(guess) is None
    meter.give_back(guess)
    meter.paid(Usage(800, 95), guess)
    assert meter.reserve(guess) is not None


def test_an_attempt_without_an_answer_counts_towards_the_budget_and_not_as_paid():
    """It may have been charged for; one that certainly was not leaves nothing behind."""
    meter = Meter(UsageReport(), None, {"requests": 2})
    guess = Usage(100, 10)
    assert meter.reserve(guess) is None
    meter.settle(guess)
    assert meter.reserve(guess) is None
    meter.settle(guess, perhaps=True)
    assert meter.report.requests == 0
    assert meter.reserve(guess) is None
    assert meter.reserve(guess) is not None
