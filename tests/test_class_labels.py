"""Labels on their way: numbers that stand for names, missing and odd labels, abstentions."""

import enum
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_predict, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

from sklfusion import (
    AutoFusionClassifier,
    CascadeClassifier,
    EncoderTraining,
    FusionClassifier,
    JointFusionClassifier,
    LLMClassifier,
    LLMScorer,
    RecordedScorer,
)
from sklfusion._class_labels import are_bare_numbers, in_names, read_labels
from sklfusion.exceptions import DataWarning, ScoringWarning

NAMES = ["food", "sport", "travel"]
Y = np.array(NAMES * 10)
X = [f"note {n} on {name} today" for n, name in enumerate(Y)]
TRUTH = dict(zip(X, Y.tolist(), strict=True))


def weak():
    """An encoder that cannot do it alone."""
    return TfidfVectorizer(max_features=4)


def tfidf():
    return make_pipeline(TfidfVectorizer(), LogisticRegression())


class Server:
    """The loopback endpoint, and what it was asked."""

    def __init__(self, server):
        server.reset(keep_bodies=True)
        self.server = server

    def params(self, **params):
        return {"base_url": self.server.base_url, "strategy": "label", **params}

    def scorer(self, **params):
        return LLMScorer("any", **self.params(**params))

    def classifier(self, **params):
        return LLMClassifier("any", **self.params(**params))

    def shown(self):
        """All lists of class names that the model was shown."""
        return {
            tuple(
                line[2:].split(":")[0]
                for line in body["messages"][0]["content"].splitlines()
                if line.startswith("- ")
            )
            for body in self.server.ledger(events=True).bodies
        }

    @property
    def received(self):
        return self.server.ledger().received


@pytest.fixture
def llm(fault_server):
    return Server(fault_server)


def estimators(llm, **params):
    """Every kind of estimator that talks to the endpoint."""
    return {
        "classifier": llm.classifier(**params),
        "auto": AutoFusionClassifier(llm.scorer(**params), weak(), random_state=0),
        "cascade": CascadeClassifier(tfidf(), llm.scorer(**params), random_state=0),
        "pipeline": Pipeline(
            [
                ("features", FeatureUnion([("embedding", weak()), ("llm", llm.scorer(**params))])),
                ("fusion", FusionClassifier(score_classes=params.get("classes"), random_state=0)),
            ]
        ),
    }


KINDS = ["classifier", "auto", "cascade", "pipeline"]


class TestCodesOfNamedClasses:
    @pytest.mark.parametrize("kind", KINDS)
    def test_cross_val_predict_asks_about_names(self, llm, kind):
        """It encodes y; the columns come back in the order of the sorted names."""
        estimator = estimators(llm, classes=NAMES)[kind]
        proba = cross_val_predict(estimator, X, Y, cv=3, method="predict_proba")
        assert llm.shown() == {tuple(NAMES)}
        assert (np.array(NAMES)[proba.argmax(axis=1)] == Y).mean() == 1

    @pytest.mark.parametrize("kind", KINDS)
    def test_predictions_are_in_the_labels_of_y(self, llm, kind):
        """Whoever hands codes gets codes."""
        codes = np.unique(Y, return_inverse=True)[1].astype(np.int16)
        model = estimators(llm, classes=NAMES)[kind].fit(X, codes)
        assert model.classes_.tolist() == [0, 1, 2]
        np.testing.assert_array_equal(model.predict(X), codes)
        assert model.score(X, codes) == 1

    @pytest.mark.parametrize("kind", KINDS)
    def test_without_names_nothing_is_sent(self, llm, kind):
        """Classes called 0, 1, 2 mean nothing; the message has the way out."""
        with pytest.raises(ValueError, match=r"nothing was sent.*classes=\[\.\.\.\]"):
            estimators(llm)[kind].fit(X, np.unique(Y, return_inverse=True)[1])
        assert llm.received == 0

    @pytest.mark.parametrize("make", [VotingClassifier, StackingClassifier])
    def test_ensembles_that_encode_y(self, llm, make):
        """Voting and stacking hand 0..K-1 and take their own labels back."""
        options = {"voting": "soft"} if make is VotingClassifier else {"cv": 3}
        members = [("llm", llm.classifier(classes=NAMES)), ("tfidf", tfidf())]
        model = make(members, **options).fit(X, Y)
        assert (model.predict(X) == Y).all()
        assert llm.shown() == {tuple(NAMES)}

    @pytest.mark.parametrize("ensemble", [True, False])
    def test_calibration(self, llm, ensemble):
        """With and without an ensemble of folds."""
        model = CalibratedClassifierCV(llm.classifier(classes=NAMES), cv=3, ensemble=ensemble)
        assert (model.fit(X, Y).predict(X) == Y).all()
        assert llm.shown() == {tuple(NAMES)}

    def test_one_vs_rest_of_two_classes(self, llm):
        """0 and 1 are the two names in sorted order."""
        rows = Y != "travel"
        texts = [text for text, row in zip(X, rows, strict=True) if row]
        model = OneVsRestClassifier(llm.classifier(classes=["sport", "food"][::-1]))
        assert (model.fit(texts, Y[rows]).predict(texts) == Y[rows]).all()

    def test_one_vs_rest_of_more_warns(self, llm):
        """Its 0 and 1 are "another class" and "this class", which are no codes of three names."""
        model = OneVsRestClassifier(llm.classifier(classes=NAMES))
        with pytest.warns(DataWarning, match="OneVsRestClassifier"):
            model.fit(X, Y)

    def test_one_question_per_output(self, llm):
        """A column of 0 and 1 per output, two names each."""
        target = np.column_stack([Y == "sport", Y != "sport"]).astype(int)
        model = MultiOutputClassifier(llm.classifier(classes=["food", "sport"]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ScoringWarning)  # "travel" has no such answer
            predicted = model.fit(X, target).predict(X)
        sport = Y == "sport"
        assert (predicted[sport, 0] == 1).all()
        assert (predicted[sport, 1] == 1).all()
        assert (predicted[Y == "food"] == 0).all()

    def test_a_fold_may_lack_a_class(self, llm):
        """Sorted y and plain folds: every training part lacks one of the codes."""
        order = np.argsort(Y, kind="stable")
        texts = [X[row] for row in order]
        with pytest.warns(DataWarning, match="holds the codes"):
            proba = cross_val_predict(
                llm.classifier(classes=NAMES), texts, Y[order], cv=KFold(3), method="predict_proba"
            )
        assert (np.array(NAMES)[proba.argmax(axis=1)] == Y[order]).all()

    def test_joint_training_matches_its_scorer_by_name(self, tiny_roberta):
        """The scorer hears names, and its columns find the codes of y."""
        codes = np.unique(Y, return_inverse=True)[1]
        scorer = RecordedScorer(TRUTH, classes=["travel", "food", "sport"], output="proba")
        model = JointFusionClassifier(
            str(tiny_roberta),
            scorer=scorer,
            training=EncoderTraining(max_epochs=1),
            random_state=0,
        )
        with pytest.warns(DataWarning, match="0 = 'food'"):
            model.fit(X, codes)
        assert model.classes_.tolist() == [0, 1, 2]
        assert (model.predict(X) == codes).mean() > 0.9

    def test_examples_are_shown_under_their_names(self, llm):
        """Few-shot examples come out of y too."""
        codes = np.unique(Y, return_inverse=True)[1]
        model = llm.classifier(classes=NAMES, n_shots=3, shot_selection="random", random_state=0)
        model.fit(X, codes).predict(["a new text on sport"])
        said = [m["content"] for m in llm.server.ledger(events=True).bodies[0]["messages"]]
        assert set(NAMES) <= set(said)


class TestReadingsOfNumbers:
    def test_order_of_classes_is_told(self):
        """Numbers that could count in the declared order are read as sorted, with a warning."""
        with pytest.warns(DataWarning, match="0 = 'food'.*np.asarray"):
            named, codes = in_names(np.array([0, 1]), ["sport", "food"])
        assert named.tolist() == ["food", "sport"]
        assert codes.tolist() == [0, 1]

    def test_a_gap_needs_no_warning(self):
        """Codes 0 and 2 can only come from an encoder that saw all three."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            named, _ = in_names(np.array([0, 2, 2]), NAMES)
        assert named.tolist() == ["food", "travel", "travel"]

    def test_two_readings_are_refused(self):
        """Stars 1 to 4 as numbers beside names "1" to "5" would be off by one as codes."""
        with pytest.raises(ValueError, match="one type"):
            in_names(np.array([1, 2, 3, 4]), list("12345"))

    def test_names_stay_names(self):
        """Declared numbers are labels, not codes."""
        named, codes = in_names(np.array([1, 5, 5]), [1, 2, 3, 4, 5])
        assert named.tolist() == [1, 5, 5]
        assert codes is None

    @pytest.mark.parametrize("labels", [[0, 1, 7], [0.0, 1.5, 0.0], [-1, 0, 1], ["ham", "food"]])
    def test_what_is_neither_name_nor_code_is_refused(self, labels):
        """An unknown label is an error, as ever."""
        with pytest.raises(ValueError, match="not in classes"):
            in_names(np.array(labels), NAMES)

    @pytest.mark.parametrize("classes", [[0, 1], [1, 2, 3], ["0", "1"], [2.0, 1.0], [-1, 0, 1]])
    def test_bare_numbers(self, classes):
        """In any type and order."""
        assert are_bare_numbers(classes)

    @pytest.mark.parametrize("classes", [[2, 7, 10], [False, True], ["a", "1"], [1.0, 1.5]])
    def test_other_labels_speak_for_themselves(self, classes):
        """Codes are consecutive."""
        assert not are_bare_numbers(classes)

    def test_stars_are_a_task_when_somebody_says_so(self, llm):
        """classes= or descriptions make numbers names."""
        stars = [1, 2, 3]
        y = np.array(stars * 10)
        llm.classifier(classes=stars).fit(X, y)
        llm.classifier(class_descriptions=dict.fromkeys(stars, "stars")).fit(X, y)
        with pytest.raises(ValueError, match="nothing was sent"):
            llm.classifier().fit(X, y)

    def test_recorded_answers_may_be_numbers(self):
        """A table that has the numbers names them; one of names needs classes=."""
        codes = np.unique(Y, return_inverse=True)[1]
        numbers = dict(zip(X, codes.tolist(), strict=True))
        assert RecordedScorer(numbers).fit(X, codes).classes_.tolist() == [0, 1, 2]
        with pytest.raises(ValueError, match="nothing was sent"):
            RecordedScorer(TRUTH).fit(X, codes)
        model = AutoFusionClassifier(RecordedScorer(TRUTH, classes=NAMES), weak(), random_state=0)
        assert (model.fit(X, codes).predict(X) == codes).all()

    def test_fusion_matches_columns_to_codes_by_name(self):
        """Columns declared in another order than the sorted names the codes count in."""
        declared = ["travel", "food", "sport"]
        codes = np.unique(Y, return_inverse=True)[1]
        votes = np.eye(3)[[declared.index(name) for name in Y]] * 0.8 + 0.2 / 3
        model = FusionClassifier(score_classes=declared, random_state=0).fit(votes, codes)
        assert (model.predict(votes) == codes).all()
        frame = pd.DataFrame(votes, columns=[f"llm_{name}" for name in declared])
        model = FusionClassifier(random_state=0).fit(frame, codes)
        assert (model.predict(frame) == codes).all()


class Topic(str, enum.Enum):  # noqa: UP042 - what typed clients have
    FOOD = "food"
    SPORT = "sport"
    TRAVEL = "travel"


class TestOddLabels:
    @pytest.mark.parametrize("classes", [list(Topic), Topic])
    def test_members_of_an_enum_are_their_values(self, llm, classes):
        """As classes, in y, in descriptions and in examples."""
        clf = llm.classifier(
            classes=classes,
            class_descriptions={Topic.FOOD: "meals"},
            examples=[("a match", Topic.SPORT)],
        )
        clf.fit(X, [Topic(name) for name in Y])
        assert clf.classes_.tolist() == NAMES
        assert clf.predict(X[:3]).tolist() == NAMES
        assert llm.shown() == {tuple(NAMES)}

    def test_recorded_labels_may_be_members(self):
        """A table from a typed client."""
        table = {text: Topic(name) for text, name in TRUTH.items()}
        model = AutoFusionClassifier(RecordedScorer(table), weak(), random_state=0)
        model.fit(X, [Topic(name) for name in Y])
        assert model.classes_.tolist() == NAMES
        assert (model.predict(X) == Y).all()

    @pytest.mark.parametrize("names", [["*", "**", "***"], ["+", "-", "!"], ["?", "!", "..."]])
    def test_punctuation_is_a_name(self, llm, names):
        """Asked about under ids, since nothing of them survives a cleaned reply."""
        table = {text: names[NAMES.index(name)] for text, name in TRUTH.items()}
        y = np.array([table[text] for text in X])
        model = AutoFusionClassifier(RecordedScorer(table), weak(), random_state=0).fit(X, y)
        assert (model.predict(X) == y).all()
        llm.classifier(classes=names).fit(X, y).annotate(X[:1])

    @pytest.mark.parametrize(
        "missing",
        [
            lambda y: [None, *y[1:]],
            lambda y: np.array([np.nan, *y[1:]], dtype=object),
            lambda y: pd.Series([None, *y[1:]], dtype="string"),
            lambda y: pd.Series([None, *y[1:]], dtype="category"),
            lambda y: pd.Series([None, *range(1, len(y))], dtype="Int64"),
            lambda y: np.ma.array(np.arange(len(y)), mask=np.arange(len(y)) == 0),
            lambda y: np.array([np.nan, *range(1, len(y))]),
        ],
    )
    @pytest.mark.parametrize("kind", KINDS)
    def test_missing_labels_in_the_words_of_scikit_learn(self, llm, kind, missing):
        """And which rows have none."""
        with pytest.raises(ValueError, match=r"Input y contains NaN.*row\(s\) 0 "):
            estimators(llm, classes=NAMES)[kind].fit(X, missing(Y.tolist()))
        assert llm.received == 0

    def test_a_missing_cell_of_an_indicator(self):
        """Named by row and column."""
        target = np.eye(3)[np.unique(Y, return_inverse=True)[1]]
        target[4, 1] = np.nan
        with pytest.raises(ValueError, match=r"Input y contains NaN.*\[4, 1\]"):
            FusionClassifier().fit(np.ones((30, 2)), target)

    def test_mixed_labels_in_the_words_of_scikit_learn(self):
        """Numbers beside strings do not sort."""
        with pytest.raises(TypeError, match=r"uniformly strings or numbers. Got \['int', 'str'\]"):
            read_labels(np.array([1, "spam"], dtype=object))

    @pytest.mark.parametrize(
        ("y", "kind"),
        [
            (["b", "a"], "U"),
            (pd.Series(["b", "a"], dtype=object), "O"),
            (pd.Series([1, 0], dtype="Int64"), "i"),
            (pd.Series([True, False], dtype="boolean"), "b"),
            (pd.Series(["b", "a"], dtype="category"), "O"),
            (np.array(["b", "a"], dtype=np.dtypes.StringDType()), "O"),
        ],
    )
    def test_kinds_of_columns(self, y, kind):
        """Nullable columns are numbers and booleans, not floats and objects."""
        assert read_labels(y).dtype.kind == kind
        assert read_labels(y).tolist() == list(y)


class TestAbstentions:
    """One text of thirty is refused; the others are answered."""

    @pytest.fixture
    def refusing(self, llm):
        llm.server.script(
            {
                "fault": {"kind": "content", "content": "no idea"},
                "attempts": "all",
                "contains": "note 0 ",
            }
        )
        return llm

    def test_training_labels_give_the_most_frequent_class(self, refusing):
        """As a model without features would, and a warning says so."""
        y = np.where(Y == "travel", "sport", Y)  # sport is now the most frequent
        clf = refusing.classifier(classes=NAMES).fit(X, y)
        with pytest.warns(ScoringWarning, match=r"1 of 30.*'sport', the most frequent"):
            predicted = clf.predict(X)
        assert predicted[0] == "sport"
        assert (predicted[1:] == Y[1:]).all()

    def test_cross_validation_survives_a_refused_text(self, refusing):
        """One refused text costs one row, not the whole score."""
        with pytest.warns(ScoringWarning):
            scores = cross_val_score(
                refusing.classifier(classes=NAMES), X, Y, cv=3, error_score="raise"
            )
        assert scores.min() >= 0.9

    def test_without_training_labels_nothing_is_made_up(self, refusing):
        """There is no class that it could be; the others can still be had."""
        clf = refusing.classifier(classes=NAMES).fit(X)
        with pytest.warns(ScoringWarning, match="predicted as None; abstain_label= names"):
            assert clf.predict(X).tolist() == [None, *Y[1:]]
        assert clf.predict(X[1:]).dtype == Y.dtype

    def test_a_label_for_abstentions(self, refusing):
        """It is what predict returns, in a type that leaves the other labels as they are."""
        clf = refusing.classifier(classes=NAMES, abstain_label="unknown").fit(X)
        with pytest.warns(ScoringWarning, match="'unknown', the abstain_label"):
            assert clf.predict(X[:2]).tolist() == ["unknown", "sport"]
        codes = np.unique(Y, return_inverse=True)[1]
        clf = refusing.classifier(classes=NAMES, abstain_label="unknown").fit(X, codes)
        with pytest.warns(ScoringWarning):
            assert clf.predict(X[:2]).tolist() == ["unknown", 1]

    def test_doubt_needs_a_label_too(self, llm):
        """abstain_below without anything to say is refused in fit."""
        with pytest.raises(ValueError, match=r"abstain_below=0\.9 needs a label"):
            llm.classifier(classes=NAMES, abstain_below=0.9).fit(X)


class TestSettingsOfTheWhole:
    """What AutoFusionClassifier is told reaches a scorer that the user built."""

    def test_a_second_fit_pays_nothing(self, llm, tmp_path):
        """The memory of the whole is the scorer's."""

        def auto():
            return AutoFusionClassifier(
                llm.scorer(),
                weak(),
                memory=tmp_path,
                class_descriptions={"food": "ZEBRA"},
                instructions="GIRAFFE",
                random_state=0,
            )

        first = auto().fit(X, Y)
        assert llm.received == 30
        second = auto().fit(X, Y)
        assert llm.received == 30
        np.testing.assert_array_equal(first.predict(X), second.predict(X))
        system = llm.server.ledger(events=True).bodies[0]["messages"][0]["content"]
        assert "ZEBRA" in system
        assert "GIRAFFE" in system

    @pytest.mark.parametrize(
        ("setting", "own", "other"),
        [
            ("memory", "here", "there"),
            ("class_descriptions", {"food": "a"}, {"food": "b"}),
            ("instructions", "this", "that"),
        ],
    )
    def test_contradictions_are_refused(self, llm, setting, own, other, tmp_path):
        """Nobody can guess which one was meant; equal ones are no contradiction."""
        if setting == "memory":
            own, other = str(tmp_path / own), str(tmp_path / other)
        auto = AutoFusionClassifier(llm.scorer(**{setting: own}), weak(), **{setting: other})
        with pytest.raises(ValueError, match=f"{setting}=.* and its llm has"):
            auto.fit(X, Y)
        assert llm.received == 0
        auto.set_params(**{setting: own}).fit(X, Y)

    def test_the_scorers_own_settings_stay(self, llm):
        """Where the whole sets nothing, nothing is overwritten."""
        scorer = llm.scorer(instructions="GIRAFFE", classes=NAMES[::-1], random_state=7)
        model = AutoFusionClassifier(scorer, weak(), random_state=0, classes=NAMES).fit(X, Y)
        assert model.scorer_.instructions == "GIRAFFE"
        assert model.scorer_.classes == NAMES[::-1]
        assert model.scorer_.random_state == 7
        assert (model.predict(X) == Y).all()

    def test_what_no_part_can_use_is_told(self):
        """Recorded answers heed no instructions, and fine_tune not an embedder of one's own."""
        scorer = RecordedScorer(TRUTH)
        with pytest.warns(DataWarning, match="instructions has no effect"):
            AutoFusionClassifier(scorer, weak(), instructions="x", random_state=0).fit(X, Y)
        with pytest.warns(DataWarning, match="fine_tune has no effect"):
            AutoFusionClassifier(scorer, weak(), fine_tune=True, random_state=0).fit(X, Y)
        with pytest.warns(DataWarning, match="class_descriptions has no effect: llm is None"):
            AutoFusionClassifier(None, weak(), class_descriptions={"food": "x"}).fit(X, Y)

    def test_a_cascade_hands_its_memory_on(self, llm, tmp_path):
        """A second fit pays nothing there either."""
        for _ in range(2):
            CascadeClassifier(tfidf(), llm.scorer(), memory=tmp_path, random_state=0).fit(X, Y)
            assert llm.received == 30

    def test_weights_reach_the_fusion(self):
        """Rows of weight 0 are as if they were not there."""
        rng = np.random.default_rng(0)
        wrong = rng.permutation(Y)
        scorer = RecordedScorer(TRUTH)
        texts, labels = [*X, *X], np.concatenate([Y, wrong])
        weights = np.r_[np.ones(30), np.zeros(30)]
        model = AutoFusionClassifier(scorer, weak(), random_state=0)
        assert (model.fit(texts, labels, sample_weight=weights).predict(X) == Y).all()
        same = model.predict_proba(X)
        other = AutoFusionClassifier(scorer, weak(), random_state=0)
        other.fit(texts, labels, fusion__sample_weight=weights)
        np.testing.assert_allclose(same, other.predict_proba(X), atol=1e-9)


class TestParametersWithoutEffect:
    """What is set and changes nothing is named; a default value never is."""

    @staticmethod
    def told(estimator, *data):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator.fit(*data)
        return [str(one.message) for one in caught]

    @pytest.fixture
    def rows(self):
        rng = np.random.default_rng(0)
        y = rng.integers(3, size=60)
        return np.hstack([rng.normal(size=(60, 4)), np.eye(3)[y]]), y

    @pytest.mark.parametrize(
        "idle",
        [{"hidden_layer_sizes": (2,)}, {"dropout": 0.9, "lr": 1e-2}, {"early_stopping": False}],
    )
    def test_of_an_mlp_that_is_not_trained(self, rows, idle):
        """Beside LLM scores there is none unless asked for."""
        (said,) = self.told(FusionClassifier(random_state=0, **idle), *rows)
        assert all(name in said for name in idle)
        assert self.told(FusionClassifier(random_state=0, fusion="concat", **idle), *rows) == []

    @pytest.mark.parametrize("whole", [{}, {"fusion": "concat", "max_epochs": 3}])
    def test_of_a_guard_that_has_nothing_to_guard(self, rows, whole):
        """Without a residual MLP there is nothing that it could refuse."""
        (said,) = self.told(FusionClassifier(guard=False, random_state=0, **whole), *rows)
        assert "guard has no effect" in said
        used = FusionClassifier(guard=False, residual=True, random_state=0, max_epochs=3)
        assert self.told(used, *rows) == []

    @pytest.mark.parametrize("same", [{"hidden_layer_sizes": [64, 32]}, {"dropout": 0.1}, {}])
    def test_defaults_never_warn(self, rows, same):
        """Also when they are written out, as a list or a tuple."""
        assert self.told(FusionClassifier(random_state=0, **same), *rows) == []

    def test_of_ways_not_to_ask(self, llm):
        """Votes that are not sampled, examples that are not chosen, labels that are not cut."""
        classifier = llm.classifier(
            classes=NAMES, n_votes=9, shot_selection="random", threshold=0.2
        )
        said = " ".join(self.told(classifier, X))
        assert all(name in said for name in ("n_votes", "shot_selection", "threshold"))

    def test_of_a_training_that_does_not_happen(self, tiny_roberta):
        """A frozen encoder has no folds, and pairs of texts have no epochs."""
        from sklfusion import RobertaEmbedder

        (said,) = self.told(RobertaEmbedder(str(tiny_roberta), cv=5), X)
        assert "cv has no effect" in said
        training = EncoderTraining("contrastive", contrastive_steps=1, head_lr=1.0, max_epochs=2)
        (said,) = self.told(RobertaEmbedder(str(tiny_roberta), fine_tune=training), X, Y)
        assert "EncoderTraining: head_lr, max_epochs have no effect" in said


class TestScoresThatStandElsewhere:
    """Scores without names are looked for at the end of X; others are not lost in silence."""

    @pytest.fixture
    def parts(self):
        rng = np.random.default_rng(0)
        y = rng.integers(3, size=60)
        return rng.normal(size=(60, 5)), np.log(np.eye(3)[y] * 0.7 + 0.1), y

    def test_before_a_number(self, parts):
        """The warning says how to take them."""
        noise, logs, y = parts
        X = np.hstack([noise, logs, noise[:, :1]])
        with pytest.warns(DataWarning, match=r"score_columns=slice\(5, 8\)"):
            FusionClassifier(random_state=0).fit(X, y)
        model = FusionClassifier(random_state=0, score_columns=slice(5, 8)).fit(X, y)
        assert model.score_columns_.tolist() == [5, 6, 7]

    def test_of_more_classes_than_y_has(self, parts):
        """A fold that lacks a class makes the block look too wide."""
        noise, logs, y = parts
        rows = y < 2
        with pytest.warns(DataWarning, match="of 3 classes, while y has 2"):
            FusionClassifier(random_state=0).fit(np.hstack([noise, logs])[rows], y[rows])

    @pytest.mark.parametrize("kind", ["noise", "one-hot", "proportions"])
    def test_other_columns_are_no_scores(self, parts, kind):
        """A category of three values, or shares that sum to one, need not be about y."""
        noise, _, y = parts
        rng = np.random.default_rng(1)
        other = {
            "noise": rng.normal(size=(60, 3)),
            "one-hot": np.eye(3)[rng.permutation(y)],
            "proportions": rng.dirichlet(np.ones(4), size=60),
        }[kind]
        with warnings.catch_warnings():
            warnings.simplefilter("error", DataWarning)
            FusionClassifier(random_state=0).fit(np.hstack([other, noise[:, :2]]), y)


def test_pyarrow_columns_and_tables_are_texts():
    """As are chunked arrays; a null is missing."""
    pyarrow = pytest.importorskip("pyarrow")
    from sklfusion._text_input import check_texts

    boxes = (pyarrow.array(X), pyarrow.chunked_array([X[:9], X[9:]]), pyarrow.table({"t": X}))
    for box in boxes:
        assert check_texts(box) == X
    with pytest.raises(ValueError, match=r"texts\[1\] is missing"):
        check_texts(pyarrow.array(["a", None]))
    with pytest.raises(ValueError, match="2 columns"):
        check_texts(pyarrow.table({"a": X, "b": X}))
