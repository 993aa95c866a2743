"""The report's page: one valid file, nothing from outside, hostile labels and texts harmless."""

import html
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklfusion import AutoFusionClassifier, EvaluationReport, FusionClassifier, RecordedScorer
from sklfusion.plotting import METHOD_COLORS
from sklfusion.report._figures import hits_interval, paired
from sklfusion.report._svg import bars, calibration, heat, intervals, rise
from sklfusion.report._tables import count, percent, points, table
from sklfusion.report._text import escape, label, printable, text
from tests._fusion_data import make_rows

#: Elements that have no end tag.
VOID = {"meta", "br", "hr", "img", "link", "input"}
#: Elements that may be written closed at once, inside SVG.
SHAPES = {"line", "circle", "rect", "polyline"}
#: What can load or run something.
ACTIVE = {"script", "link", "iframe", "object", "embed", "form", "base", "audio", "video", "img"}

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    'it\'s "quoted" & <b>bold</b>',
    "\u202eturned\u202c \x00\x1b[31m",
    "</style></title></section>",
]


class Walk(HTMLParser):
    """Walks over a page and keeps what a test asks for."""

    def __init__(self, said):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes = [], [], []
        self.words, self.ids, self.wrong = [], [], []
        self.feed(said)
        self.close()
        self.wrong += self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if len({name for name, _ in attrs}) < len(attrs):
            self.wrong.append(f"{tag} has an attribute twice")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()
        if tag not in SHAPES:
            self.wrong.append(f"{tag} closed at once")

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"/{tag} out of order")

    def handle_data(self, data):
        self.words.append(data)

    @property
    def said(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def four():
    """The page of a fusion of numbers in four classes."""
    X, y = make_rows(n=120, k=4, signal=0.4)
    y = np.array(["Business", "Culture", "Health", "Sports"])[y]
    return EvaluationReport.from_estimator(FusionClassifier(random_state=0), X, y, cv=3)


def hostile_rows(labels, n=60):
    """Texts that hold what they are, and answers of an LLM that errs now and then."""
    rng = np.random.default_rng(0)
    y = np.array(labels, dtype=object)[np.arange(n) % len(labels)]
    texts = [f"{HOSTILE[i % len(HOSTILE)]} number {i} word{i % len(labels)}" for i in range(n)]
    said = np.where(rng.random(n) < 0.8, y, y[::-1])
    return texts, y, dict(zip(texts, said.tolist(), strict=True))


def report_of(texts, y, said, **settings):
    embedder = make_pipeline(TfidfVectorizer(), TruncatedSVD(5, random_state=0))
    scorer = RecordedScorer(said, classes=sorted(set(y)))
    auto = AutoFusionClassifier(scorer, embedder, random_state=0)
    return EvaluationReport.from_estimator(auto, texts, y, cv=2, **settings)


@pytest.fixture(scope="module")
def hostile():
    """The page of hostile labels and texts, and a hostile title."""
    return report_of(*hostile_rows(HOSTILE[:4]), title=HOSTILE[0])


# ----------------------------------------------------------------------------------- the file


def test_the_page_is_valid_html(four, hostile):
    """Every element ends where it should, no id stands twice, links lead somewhere."""
    for report in (four, hostile):
        page = report.to_html()
        walk = Walk(page)
        assert page.startswith("<!DOCTYPE html>")
        assert walk.wrong == []
        assert len(walk.ids) == len(set(walk.ids)) > 5
        links = [v for tag, name, v in walk.attributes if (tag, name) == ("a", "href")]
        assert sorted(links) == sorted(f"#{name}" for name in walk.ids)


def test_the_walk_finds_what_is_wrong():
    """A check that finds nothing would pass everything."""
    assert Walk("<p><b>one</p></b>").wrong
    assert Walk("<p>one").wrong
    assert Walk('<p id="a" id="b">one</p>').wrong
    assert not Walk('<p id="a">one<br></p>').wrong


def test_nothing_comes_from_outside(four, hostile):
    """No script, no address, no handler, no import of a style."""
    for report in (four, hostile):
        page = report.to_html()
        walk = Walk(page)
        assert not ACTIVE & set(walk.tags)
        assert "http" not in page
        assert not [name for _, name, _ in walk.attributes if name.startswith("on")]
        assert not [name for _, name, _ in walk.attributes if name in ("src", "srcset", "data")]
        style = re.search(r"<style>(.*?)</style>", page, re.S).group(1)
        assert not re.search(r"@import|@font-face|url\(", style)


def test_every_section_is_there(four):
    """In the order in which a reader asks."""
    headings = re.findall(r"<h2>(.*?)</h2>", four.to_html())
    assert headings == [
        "Data",
        "How good it is",
        "Reliability",
        "Classes",
        "Confusion",
        "Trust per source",
        "Accuracy by share of texts asked about",
        "Where the sources disagree most",
        "How this was made",
    ]


def test_the_page_says_what_the_figures_say(four):
    """Accuracy, its interval and the difference, as people read them."""
    said, found = Walk(four.to_html()).said, four.to_dict()
    for name, scores in found["methods"].items():
        low, high = scores["accuracy_interval"]
        assert name in said
        assert percent(scores["accuracy"]) in said
        assert f"{100 * low:.1f} to {100 * high:.1f}" in said
    assert points(found["comparison"]["difference"]) in said
    assert "Wilson" in said
    assert "Agresti and Min" in said


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [([0.01, 0.1], "fusion is better"), ([-0.1, -0.01], "fusion is worse"), ([-0.1, 0.1], "zero")],
)
def test_the_verdict_follows_the_interval(four, interval, verdict):
    """Better, worse, or not to be told apart."""
    from sklfusion.report._page import page

    found = four.to_dict()
    found["comparison"]["interval"] = interval
    assert verdict in Walk(page(found)).said


def test_tables_can_be_read_out(four):
    """Heads have a scope, boxes that scroll have a name and take the keyboard."""
    walk = Walk(four.to_html())
    heads = walk.tags.count("th")
    scopes = [v for tag, name, v in walk.attributes if (tag, name) == ("th", "scope")]
    assert len(scopes) == heads > 20
    assert set(scopes) == {"row", "col"}
    boxes = [v for tag, name, v in walk.attributes if name == "tabindex"]
    names = [v for tag, name, v in walk.attributes if (tag, name) == ("div", "aria-label")]
    assert len(boxes) == len(names) > 2
    assert all(names)


def test_pictures_say_what_they_show(four):
    """Each has a role and a text in place of it."""
    walk = Walk(four.to_html())
    pictures = walk.tags.count("svg")
    told = [v for tag, name, v in walk.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(told) == pictures == 4
    assert any("fusion" in said for said in told)


def test_the_style_knows_dark_paper_and_phones(four):
    """And has the house colours."""
    page = four.to_html()
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert "width=device-width" in page
    for name in ("fusion", "LLM alone", "encoder alone"):
        assert METHOD_COLORS[name] in page


def test_the_file_is_the_page(four, tmp_path):
    """As UTF-8."""
    path = tmp_path / "report.html"
    assert four.to_html(path) == path.read_text(encoding="utf-8")


def test_a_notebook_gets_a_frame_that_runs_nothing(four):
    """The style stays inside, and the page in the frame is the page."""
    frame = four._repr_html_()
    walk = Walk(frame)
    assert walk.tags == ["iframe"]
    values = {name: value for _, name, value in walk.attributes}
    assert values["sandbox"] == ""
    assert Walk(values["srcdoc"]).said == Walk(four.to_html()).said


# ------------------------------------------------------------------------------- what is hostile


def test_hostile_labels_and_texts_are_words(hostile):
    """They are shown, and nothing of them is an element."""
    page = hostile.to_html()
    walk = Walk(page)
    for word in ("<script>alert(1)</script>", 'it\'s "quoted" & <b>bold</b>'):
        assert word in walk.said
        assert html.escape(word, quote=True) in page
    assert not {"script", "img"} & set(walk.tags)
    assert walk.tags.count("style") == walk.tags.count("title") == 1


def test_no_character_turns_the_page_around(hostile):
    """Controls of direction and of terminals are replaced."""
    page = hostile.to_html()
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", page)


def test_long_texts_and_labels_are_shortened():
    """100 kB of text and 20 kB of label do not make the page long."""
    texts, y, _ = hostile_rows(["a" * 20_000, "b"], n=24)
    texts = [f"{t} {'long ' * 20_000}" for t in texts]
    report = report_of(texts, y, dict(zip(texts, y[::-1].tolist(), strict=True)))
    page = report.to_html()
    assert len(page.encode()) < 120_000
    assert "a" * 39 + "\u2026" in page
    assert "a" * 41 not in page
    assert report.to_dict()["data"]["characters"][0] > 100_000


def test_texts_without_a_letter_are_judged():
    """Empty ones, blanks and signs: TF-IDF has nothing to read and is left out."""
    texts = ["", "   ", "!", "\U0001f600", "\u00a0", "?"] * 4
    y = np.array(["a", "b"] * 12)
    table = {t: "a" for t in texts}
    scorer = RecordedScorer(table, classes=["a", "b"])
    auto = AutoFusionClassifier(scorer, None, random_state=0)
    report = EvaluationReport.from_estimator(auto, texts, y, cv=2)
    assert "TF-IDF and logistic regression" not in report.methods_
    assert any("TF-IDF is left out" in note for note in report.to_dict()["notes"])
    assert report.to_dict()["data"]["empty_texts"] == 12
    assert Walk(report.to_html()).wrong == []


@pytest.mark.parametrize("labels", [[True, False], [1, 2], [0.5, 1.5], ["None", "NA"]])
def test_labels_of_any_kind(labels):
    """Booleans, numbers and words that look like nothing."""
    X, y = make_rows(n=40, k=2)
    y = np.array(labels)[y]
    if labels == [0.5, 1.5]:
        with pytest.raises(ValueError):
            EvaluationReport.from_estimator(LogisticRegression(), X, y, cv=2)
        return
    report = EvaluationReport.from_estimator(LogisticRegression(), X, y, cv=2)
    assert report.classes_ == sorted(labels)
    said = Walk(report.to_html()).said
    assert all(str(one) in said for one in labels)
    report.to_json()


def test_a_value_without_a_text_of_its_own_has_none_on_the_page():
    """Features may be missing where the estimator takes that."""

    class Filled(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.inner_ = LogisticRegression().fit(np.nan_to_num(X), y)
            self.classes_ = self.inner_.classes_
            return self

        def predict(self, X):
            return self.inner_.predict(np.nan_to_num(X))

        def predict_proba(self, X):
            return self.inner_.predict_proba(np.nan_to_num(X))

    X, y = make_rows(n=40, k=2)
    X[::5, 3] = np.nan
    X[:, 4] = np.nan
    report = EvaluationReport.from_estimator(Filled(), X, y, cv=2)
    assert report.methods_ == ["Filled", "logistic regression", "majority"]
    assert "nan" not in Walk(report.to_html()).said.split()


# ------------------------------------------------------------------------------------- its size


class Guess(ClassifierMixin, BaseEstimator):
    """Right on most rows, with probabilities; the features hold the number of the class."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        rng = np.random.default_rng(len(X))
        proba = rng.dirichlet(np.full(len(self.classes_), 0.2), len(X))
        proba[np.arange(len(X)), X[:, 0].astype(int)] += 0.8
        return proba / proba.sum(axis=1, keepdims=True)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


@pytest.mark.parametrize("k", [2, 77, 400])
def test_the_page_stays_under_a_megabyte(k):
    """5,000 rows, long names, most cells of the confusion matrix filled."""
    codes = np.arange(5000) % k
    y = np.array(
        [f"intent number {code:03d} with a rather long name of its own" for code in codes]
    )
    halves = (codes[:4000, None], y[:4000]), (codes[4000:, None], y[4000:])
    report = EvaluationReport.from_estimator(
        Guess(), *halves[0], X_test=halves[1][0], y_test=halves[1][1]
    )
    page = report.to_html()
    assert len(page.encode()) < 1_000_000
    assert Walk(page).wrong == []
    assert ("too many for a picture" in page) == (k == 400)
    assert ("The 200 most frequent of 400" in page) == (k == 400)
    assert ('class="confusion"' in page) == (k == 2)


# ------------------------------------------------------------------------------------ small parts


@pytest.mark.parametrize("n", [1, 5, 40, 1000])
def test_wilson_intervals_hold_the_share(n):
    """They stay in [0, 1], shrink with rows, and are never empty."""
    for hits in {0, 1, n // 2, n}:
        low, high = hits_interval(hits, n)
        assert 0 <= low <= hits / n <= high <= 1
        assert high - low > 0
        more = hits_interval(hits * 10, n * 10)
        assert more[1] - more[0] < high - low


def test_wilson_covers_what_it_promises():
    """About 95 % of the draws, at a share near the rim."""
    rng = np.random.default_rng(0)
    inside = [
        low <= 0.9 <= high
        for low, high in (hits_interval(h, 50) for h in rng.binomial(50, 0.9, 2000))
    ]
    assert 0.92 < np.mean(inside) < 0.98


def test_paired_differences_mirror():
    """b minus a is a minus b with the sign turned."""
    rng = np.random.default_rng(0)
    a, b = rng.random(80) < 0.8, rng.random(80) < 0.6
    mean, (low, high) = paired(a, b)
    assert low < mean < high
    back, (from_, to) = paired(b, a)
    assert (back, from_, to) == pytest.approx((-mean, -high, -low))


def test_paired_intervals_do_not_collapse():
    """Two methods that agree on ten rows may still differ on the next."""
    same = np.ones(10, bool)
    mean, (low, high) = paired(same, same)
    assert mean == 0
    assert low < -0.05
    assert high > 0.05


def test_paired_covers_what_it_promises():
    """About 95 % of the draws hold the true difference."""
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(1000):
        u = rng.random(60)
        a, b = u < 0.8, (u < 0.6) | (u > 0.9)  # true difference 0.1
        low, high = paired(a, b)[1]
        inside.append(low <= 0.1 <= high)
    assert 0.92 < np.mean(inside) <= 1


def test_printable_makes_a_line():
    """White space falls together, controls and half characters are replaced."""
    assert printable("a\n\n b\tc", 20) == "a b c"
    assert printable("x\ud800y", 20) == "x\ufffdy"
    assert printable("", 5) == ""
    assert len(printable("word " * 10_000, 50)) == 50
    assert printable(None, 10) == "None"


def test_escape_leaves_no_sign_of_html():
    """In text and in attributes."""
    said = escape("<a href='x' title=\"y\">&\x07")
    assert not set("<>'\"") & set(said)
    assert html.unescape(said) == "<a href='x' title=\"y\">&\ufffd"
    assert "(empty)" in label("")
    assert "(empty)" in text(" \n ")


def test_numbers_are_written_alike():
    """Thin spaces between thousands, a real minus, one digit of percent."""
    assert count(1234567) == "1\u202f234\u202f567"
    assert percent(0.12345) == "12.3 %"
    assert points(-0.0123) == "\u22121.2"
    assert points(0.0123) == "+1.2"


def test_columns_of_numbers_stand_to_the_right():
    """And those of words to the left."""
    made = table(["a", "b", "c"], [["x", "12", "word"], ["y", "7", "12"]], "Caption")
    assert made.count('class="n"') == 3
    assert Walk(made).wrong == []
    assert "Caption" in Walk(made).said


def test_every_chart_stays_inside_its_box():
    """Points at the rim too, and one row as well as many."""
    drawn = [
        intervals([("a", 1.0, 0.9, 1.0, "fusion"), ("b", 0.0, 0.0, 0.1, "rival")], "x"),
        intervals([("alone", 0.5, 0.4999, 0.5001, "fusion")], "x"),
        calibration([([0.0, 1.0], [1.0, 0.0], [0.5, 0.5], "llm")], "x"),
        rise([0.0, 1.0], [0.7, 0.7], "x"),
        rise([0.0, 1.0], [1.0, 0.2], "x"),
        bars([("encoder", [0.0, 2.0], "encoder"), ("llm", [0.0, 0.0], "llm")], "x"),
        heat([[0, 5], [0, 0]], "x"),
    ]
    for said in drawn:
        walk = Walk(said)
        assert walk.wrong == []
        box = next(v for _, name, v in walk.attributes if name == "viewbox")
        width, height = map(float, box.split()[2:])
        for tag, name, value in walk.attributes:
            if name in ("x", "x1", "x2", "cx"):
                assert 0 <= float(value) <= width, (tag, name, value)
            elif name in ("y", "y1", "y2", "cy"):
                assert 0 <= float(value) <= height, (tag, name, value)
            elif name in ("width", "height", "r"):
                assert float(value) >= 0
