"""scikit-learn's estimator checks on `FusionClassifier`, in both ways and both loss modes."""

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from sklfusion import FusionClassifier

# Shorter training than the defaults; the checks look at the interface, not at accuracy.
_SMALL = {"fusion": "concat", "lr": 1e-2, "max_epochs": 40, "random_state": 0}
_MODES = {
    "anchored": FusionClassifier(random_state=0),
    "anchored, one-vs-rest": FusionClassifier(loss="binary_cross_entropy", random_state=0),
    "cross_entropy": FusionClassifier(loss="auto", **_SMALL),
    "binary_cross_entropy": FusionClassifier(loss="binary_cross_entropy", **_SMALL),
}
_REASON = "folds, mini-batches and the validation split depend on the number of rows"


def _expected_failures(estimator):
    return {
        "check_sample_weight_equivalence_on_dense_data": _REASON,
        "check_sample_weight_equivalence_on_sparse_data": _REASON,
    }


# check_class_weight_classifiers sets n_iter_no_change wherever there is such a parameter
@pytest.mark.filterwarnings("ignore:.* n_iter_no_change has no effect")
@parametrize_with_checks(list(_MODES.values()), expected_failed_checks=_expected_failures)
def test_sklearn_check(estimator, check):
    """Each check of scikit-learn passes, or fails for the stated reason."""
    check(estimator)


@pytest.mark.parametrize("mode", _MODES)
def test_enough_checks_ran(mode):
    """The battery is the full one, not the handful that text estimators get."""
    assert len(list(estimator_checks_generator(_MODES[mode]))) >= 50
