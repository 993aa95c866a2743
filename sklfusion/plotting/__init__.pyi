from sklfusion.alignment import AlignmentDisplay as AlignmentDisplay
from sklfusion.noise import StabilityDisplay as StabilityDisplay
from sklfusion.plotting._budget_plan import BudgetPlanDisplay as BudgetPlanDisplay
from sklfusion.plotting._cost_curve import CostCurveDisplay as CostCurveDisplay
from sklfusion.plotting._data_efficiency import DataEfficiencyDisplay as DataEfficiencyDisplay
from sklfusion.plotting._look import METHOD_COLORS as METHOD_COLORS
from sklfusion.plotting._look import tidy as tidy
from sklfusion.plotting._methods import MethodsDisplay as MethodsDisplay
from sklfusion.plotting._reliability import ReliabilityDisplay as ReliabilityDisplay
from sklfusion.plotting._reliability import (
    expected_calibration_error as expected_calibration_error,
)
from sklfusion.plotting._source_trust import SourceTrustDisplay as SourceTrustDisplay
from sklfusion.promises import PrevalenceDisplay as PrevalenceDisplay
from sklfusion.promises import RiskCoverageDisplay as RiskCoverageDisplay
