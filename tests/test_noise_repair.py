"""LabelRepairClassifier: selectors, actions, budgets and the random control."""

import numpy as np
import pytest
import sklearn
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklfusion import Annotations, LabelRepairClassifier
from sklfusion.exceptions import DataWarning
from sklfusion.noise._selectors import disagreement, in_proportion, row_entropy, vote_shares
from sklfusion.noise._synthetic import add_label_noise


@pytest.fixture(scope="module")
def data():
    X, gold = make_blobs(240, centers=3, n_features=5, cluster_std=2.0, random_state=1)
    llm = add_label_noise(gold, "symmetric", 0.3, random_state=0)
    return X, gold, llm


def proba_of(llm, wrong, rng):
    """LLM probabilities that are less sure where the label is wrong."""
    top = np.where(wrong, 0.5, 0.9) + rng.uniform(-0.05, 0.05, len(llm))
    proba = np.repeat((1 - top)[:, None] / 2, 3, axis=1)
    proba[np.arange(len(llm)), llm] = top
    return proba


class TestBudget:
    def test_budget_zero_is_plain_training(self, data):
        """Without a budget the student is the one trained on the LLM labels."""
        X, gold, llm = data
        repaired = LabelRepairClassifier(budget=0).fit(X, gold, noisy=llm)
        plain = LogisticRegression().fit(X, llm)
        assert np.allclose(repaired.predict_proba(X), plain.predict_proba(X))
        assert repaired.budget_used_ == 0

    @pytest.mark.parametrize("budget", [1.0, 240, 10_000])
    def test_full_budget_is_gold(self, data, budget):
        """With the whole budget the student is the one trained on gold labels."""
        X, gold, llm = data
        repaired = LabelRepairClassifier(selector="random", budget=budget).fit(X, gold, noisy=llm)
        assert np.allclose(
            repaired.predict_proba(X), LogisticRegression().fit(X, gold).predict_proba(X)
        )
        assert repaired.budget_used_ == 240
        assert repaired.n_changed_ == (gold != llm).sum()

    @pytest.mark.parametrize(("budget", "rows"), [(0.05, 12), (0.051, 13), (7, 7), (1, 1)])
    def test_share_rounds_up_and_count_is_exact(self, data, budget, rows):
        """A float is a share, rounded up; an int is a count."""
        X, gold, llm = data
        repaired = LabelRepairClassifier(selector="random", budget=budget).fit(X, gold, noisy=llm)
        assert len(repaired.queried_) == rows

    def test_gold_is_read_on_selected_rows_only(self, data):
        """The human is asked about the selected rows, each once, and about no other."""
        X, gold, llm = data
        asked = []

        def ask(rows):
            asked.extend(rows.tolist())
            return gold[rows]

        for selector in ("student", "error_model", "random"):
            asked.clear()
            model = LabelRepairClassifier(selector=selector, budget=20, random_state=0)
            model.fit(X, llm, gold=ask)
            assert sorted(asked) == sorted(model.queried_.tolist())
            assert len(asked) == 20

    def test_unknown_gold_keeps_the_llm_label_and_warns(self, data):
        """Rows whose gold label is -1 are not counted and keep what the LLM said."""
        X, gold, llm = data
        with pytest.warns(DataWarning, match="no gold label"):
            model = LabelRepairClassifier(budget=1.0).fit(
                X, llm, gold=np.where(np.arange(240) < 100, gold, -1)
            )
        assert model.budget_used_ == 100


class TestSelectors:
    def test_student_finds_more_errors_than_random(self, data):
        """Among the rows the out-of-fold student doubts, most labels are wrong."""
        X, gold, llm = data
        model = LabelRepairClassifier(selector="student", budget=0.2, random_state=0)
        model.fit(X, gold, noisy=llm)
        assert model.n_changed_ > 0.8 * model.budget_used_

    def test_sampled_draws_in_proportion_to_the_doubt(self):
        """A row of three times the doubt is drawn first three times as often."""
        rng = np.random.default_rng(0)
        doubt = np.array([0.6, 0.2, 0.0])
        first = np.array([in_proportion(doubt, rng).argmax() for _ in range(2000)])
        assert np.mean(first == 0) == pytest.approx(0.75, abs=0.03)
        assert 2 not in first

    def test_sampled_finds_more_errors_than_chance_and_moves_with_the_seed(self):
        """More wrong labels than at random; another seed draws other rows."""
        X, gold = make_blobs(400, centers=3, n_features=6, random_state=0)
        noisy = add_label_noise(gold, "symmetric", 0.2, random_state=0)
        student = LogisticRegression(max_iter=1000)
        picked = [
            LabelRepairClassifier(student, selector="sampled", budget=0.1, random_state=seed)
            .fit(X, gold, noisy=noisy)
            .queried_
            for seed in (0, 0, 1)
        ]
        assert (picked[0] == picked[1]).all()
        assert set(picked[0]) != set(picked[2])
        assert np.mean(noisy[picked[0]] != gold[picked[0]]) > 0.4  # 0.2 at random

    def test_neighbors_find_errors_of_a_pattern(self):
        """Where the LLM calls most texts of a class something else, neighbours still tell."""
        X, gold = make_blobs(600, centers=3, n_features=5, cluster_std=1.0, random_state=1)
        rng = np.random.default_rng(0)
        llm = np.where((gold == 2) & (rng.random(600) < 0.55), rng.integers(2, size=600), gold)
        student = LogisticRegression(max_iter=1000)
        model = LabelRepairClassifier(student, selector="neighbors", budget=0.15, random_state=0)
        model.fit(X, gold, noisy=llm)
        assert model.n_changed_ > 0.9 * model.budget_used_

    def test_entropy_uses_llm_probabilities(self, data):
        """With probabilities that tell, the entropy selector finds the errors."""
        X, gold, llm = data
        proba = proba_of(llm, gold != llm, np.random.default_rng(0))
        n_wrong = int((gold != llm).sum())
        model = LabelRepairClassifier(selector="entropy", budget=n_wrong)
        model.fit(X, gold, noisy=llm, llm_proba=proba)
        assert model.n_changed_ == n_wrong

    def test_entropy_falls_back_to_the_student(self, data):
        """Without any LLM probabilities the entropy is that of an out-of-fold student."""
        X, gold, llm = data
        model = LabelRepairClassifier(selector="entropy", budget=20, random_state=0)
        assert model.fit(X, gold, noisy=llm).n_changed_ > 0

    def test_binary_entropy_ranking_ignores_temperature(self):
        """With two classes, ranking by entropy is invariant to the temperature."""
        logits = np.random.default_rng(0).normal(size=(50, 2))

        def rank(t):
            p = np.exp(logits / t)
            return np.argsort(row_entropy(p / p.sum(axis=1, keepdims=True)))

        assert (rank(0.5) == rank(3.0)).all()

    def test_ranking_of_three_classes_depends_on_temperature(self):
        """With three classes it is not: a counter-example."""
        logits = np.array([[4.0, 4.0, -9.0], [2.0, 1.0, 0.5]])

        def entropy(t):
            p = np.exp(logits / t)
            return row_entropy(p / p.sum(axis=1, keepdims=True))

        assert np.argmax(entropy(0.4)) != np.argmax(entropy(1.5))

    def test_any_disagreement_comes_first(self, data):
        """Rows whose repeats differ come before all rows whose repeats agree."""
        X, gold, llm = data
        repeats = np.stack([llm] * 5, axis=1)
        repeats[:30, 0] = (llm[:30] + 1) % 3
        repeats[:5, 1] = (llm[:5] + 1) % 3
        model = LabelRepairClassifier(selector="disagreement", budget=30)
        model.fit(X, gold, noisy=llm, llm_repeats=repeats)
        assert set(model.queried_.tolist()) == set(range(30))
        assert set(model.queried_[:5].tolist()) == set(range(5))

    def test_ties_of_disagreement_are_broken_by_entropy(self):
        """Shares (.5, .5, 0) and (.5, .25, .25): the second is more doubtful."""
        score = disagreement(np.array([[0.5, 0.5, 0.0], [0.5, 0.25, 0.25]]))
        assert score[1] > score[0]

    def test_error_model_learns_where_the_llm_errs(self):
        """Where errors depend on the text, the error model beats random."""
        rng = np.random.default_rng(0)
        X = rng.normal(size=(400, 4))
        gold = (X[:, 0] > 0).astype(int)
        llm = np.where(X[:, 1] > 0.5, 1 - gold, gold)
        model = LabelRepairClassifier(selector="error_model", budget=0.25, random_state=0)
        model.fit(X, gold, noisy=llm)
        assert model.n_changed_ > 1.5 * 0.25 * (gold != llm).sum()

    def test_callable_gets_codes_and_probabilities(self, data):
        """A callable selector sees the codes and the LLM's probabilities, and ranks the rows."""
        X, gold, llm = data
        seen = {}

        def last_first(X, codes, proba):
            seen.update(codes=codes, proba=proba)
            return np.arange(len(codes), dtype=float)

        model = LabelRepairClassifier(selector=last_first, budget=3).fit(X, gold, noisy=llm)
        assert model.queried_.tolist() == [239, 238, 237]
        assert (seen["codes"] == llm).all()
        assert seen["proba"] is None

    def test_refused_rows_are_asked_about_first(self, data):
        """None, NaN and -1 are the most doubtful rows of all."""
        X, gold, llm = data
        holes = llm.astype(object)
        holes[[3, 50]] = None
        holes[[100]] = -1
        model = LabelRepairClassifier(selector="student", budget=3, random_state=0)
        model.fit(X, gold, noisy=holes)
        assert sorted(model.queried_.tolist()) == [3, 50, 100]
        assert np.isinf(model.doubt_[3])

    def test_vote_shares_leave_out_missing_answers(self):
        """A row without any answer has no shares."""
        shares = vote_shares(np.array([[0, 0, 1], [-1, 1, -1], [-1, -1, -1]]), 2)
        assert shares[:2].tolist() == [[2 / 3, 1 / 3], [0, 1]]
        assert np.isnan(shares[2]).all()


class TestActions:
    def test_drop_trains_without_the_rows(self, data):
        """Dropping is the same as training on the other rows."""
        X, _gold, llm = data
        model = LabelRepairClassifier(
            selector="student", budget=0.2, action="drop", random_state=0
        )
        model.fit(X, llm)
        kept = np.setdiff1d(np.arange(240), model.queried_)
        plain = LogisticRegression().fit(X[kept], llm[kept])
        assert np.allclose(model.predict_proba(X), plain.predict_proba(X))

    def test_soft_targets_equal_weighted_copies(self, data):
        """Soft targets move the student away from wrong labels."""
        X, gold, llm = data
        proba = np.eye(3)[gold] * 0.8 + 0.2 / 3
        model = LabelRepairClassifier(budget=1.0, action="soft").fit(X, llm, llm_proba=proba)
        assert (
            np.mean(model.predict(X) == gold)
            > np.mean(LogisticRegression().fit(X, llm).predict(X) == gold) - 0.01
        )

    def test_uniform_rows_get_no_weight(self, data):
        """Weight 1 - H / ln K: rows of uniform probability hardly count."""
        X, gold, llm = data
        proba = np.where((gold != llm)[:, None], 1 / 3, np.eye(3)[llm])
        model = LabelRepairClassifier(budget=1.0, action="weight").fit(X, llm, llm_proba=proba)
        clean = gold == llm
        assert (
            np.mean(model.predict(X) == gold)
            >= np.mean(LogisticRegression().fit(X[clean], llm[clean]).predict(X) == gold) - 0.02
        )

    def test_student_in_a_pipeline_gets_its_weights(self, data):
        """The weights reach the last step of a pipeline."""
        X, _, llm = data
        student = make_pipeline(StandardScaler(), LogisticRegression())
        model = LabelRepairClassifier(student, selector="student", action="weight", budget=0.5)
        assert model.fit(X, llm).score(X, llm) > 0.4

    def test_student_without_weights_is_refused(self, data):
        """A student that takes no sample_weight cannot have soft targets."""
        X, _, llm = data
        with pytest.raises(ValueError, match="takes no sample_weight"):
            LabelRepairClassifier(KNeighborsClassifier(), action="soft", budget=0.5).fit(X, llm)

    def test_class_only_a_human_knows(self, data):
        """A gold class that the LLM never used joins the classes."""
        X, gold, llm = data
        without = np.where(llm == 2, 1, llm)
        model = LabelRepairClassifier(selector="random", budget=1.0).fit(X, gold, noisy=without)
        assert model.classes_.tolist() == [0, 1, 2]


class TestEnsemble:
    def test_members_differ_and_average(self, data):
        """Members have different seeds; the ensemble's probabilities are their mean."""
        X, gold, llm = data
        model = LabelRepairClassifier(
            SGDClassifier(loss="log_loss"), n_members=3, budget=0, random_state=0
        ).fit(X, gold, noisy=llm)
        parts = [e.predict_proba(X) for e in model.estimators_]
        assert not np.allclose(parts[0], parts[1])
        assert np.allclose(model.predict_proba(X), np.mean(parts, axis=0))

    def test_hard_vote_gives_shares(self, data):
        """Hard votes are multiples of 1 / n_members."""
        X, gold, llm = data
        model = LabelRepairClassifier(
            SGDClassifier(), selector="random", n_members=4, vote="hard", random_state=0
        ).fit(X, gold, noisy=llm)
        assert np.isin(model.predict_proba(X), np.arange(5) / 4).all()


def test_random_control_at_equal_budget(data):
    """compare_with_random tells selector, control and no repair; the student selector wins."""
    X, gold, llm = data
    llm = np.where(np.arange(240) % 2 == 0, (gold + 1) % 3, gold)
    model = LabelRepairClassifier(selector="student", budget=0.3, random_state=0)
    table = model.compare_with_random(X, gold, noisy=llm, X_test=X, y_test=gold, n_random=3)
    assert set(table) == {"selector", "none", "random", "random_std", "gain_over_random"}
    assert table["gain_over_random"] == pytest.approx(table["selector"] - table["random"])
    assert table["selector"] >= table["none"]


class TestAnnotations:
    def test_probabilities_repeats_and_labels_come_along(self, data):
        """Annotations bring labels, probabilities and repeats by themselves."""
        X, gold, llm = data
        proba = proba_of(llm, gold != llm, np.random.default_rng(0))
        notes = Annotations([2, 0, 1], probs=proba[:, [2, 0, 1]])  # any order of the classes
        n_wrong = int((gold != llm).sum())
        model = LabelRepairClassifier(budget=n_wrong).fit(X, gold, noisy=notes)
        assert model.n_changed_ == n_wrong
        repeats = np.eye(3)[np.stack([llm, gold])]
        notes = Annotations([0, 1, 2], votes=repeats[0], repeats=repeats)
        model = LabelRepairClassifier(selector="disagreement", budget=n_wrong)
        assert model.fit(X, gold, noisy=notes).n_changed_ == n_wrong

    def test_multilabel_is_refused(self, data):
        """One label per text is needed."""
        X, _, _ = data
        notes = Annotations(["a", "b"], votes=np.ones((240, 2)), multilabel=True)
        with pytest.raises(ValueError, match="one label per text"):
            LabelRepairClassifier().fit(X, notes)


class TestRouting:
    def test_cross_validation_trains_on_noisy_and_scores_on_gold(self, data):
        """Metadata `noisy` is cut along with X; annotations too."""
        X, gold, llm = data
        notes = Annotations.from_labels(llm.tolist(), [0, 1, 2])
        with sklearn.config_context(enable_metadata_routing=True):
            model = LabelRepairClassifier(selector="student", budget=0, random_state=0)
            model.set_fit_request(noisy=True)
            plain = cross_val_score(model, X, gold, cv=3, params={"noisy": llm})
            noted = cross_val_score(model, X, gold, cv=3, params={"noisy": notes})
            pipe = make_pipeline(StandardScaler(), model)
            piped = cross_val_score(pipe, X, gold, cv=3, params={"noisy": llm})
        assert plain.tolist() == noted.tolist()
        assert piped.mean() > 0.8


class TestErrors:
    def test_gold_action_needs_gold(self, data):
        """Without gold the message tells what to pass."""
        X, _, llm = data
        with pytest.raises(ValueError, match="needs gold="):
            LabelRepairClassifier().fit(X, llm)

    def test_shapes_are_checked(self, data):
        """Probabilities, repeats and selectors of the wrong shape are named."""
        X, gold, llm = data
        with pytest.raises(ValueError, match="llm_proba has shape"):
            LabelRepairClassifier().fit(X, gold, noisy=llm, llm_proba=np.ones((240, 2)))
        with pytest.raises(ValueError, match="llm_repeats has shape"):
            LabelRepairClassifier().fit(X, gold, noisy=llm, llm_repeats=llm)
        with pytest.raises(ValueError, match="needs llm_repeats"):
            LabelRepairClassifier(selector="disagreement").fit(X, gold, noisy=llm)
        with pytest.raises(ValueError, match="selector gave scores"):
            LabelRepairClassifier(selector=lambda *a: np.ones(3)).fit(X, gold, noisy=llm)
        with pytest.raises(ValueError, match="labels for"):
            LabelRepairClassifier(selector="random").fit(X, llm, gold=lambda rows: gold)

    def test_everything_dropped(self, data):
        """Dropping all rows leaves nothing to learn from."""
        X, _, llm = data
        with pytest.raises(ValueError, match="lower the budget"):
            LabelRepairClassifier(selector="student", budget=1.0, action="drop").fit(X, llm)
