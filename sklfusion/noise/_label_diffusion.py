"""`LabelDiffusion`: how denoisers learn on the label simplex, for all that train some."""

from sklearn.base import BaseEstimator

from sklfusion._sklearn_compat import integer, number, one_of


class LabelDiffusion(BaseEstimator):
    """How denoisers learn labels from candidates, and how they are asked.

    A settings object: it goes to ``SiDyPClassifier(diffusion=)`` and
    ``SimplexDiffusionClassifier(diffusion=)``, and a grid search reaches into it there, as in
    ``diffusion__n_epochs``.

    Parameters
    ----------
    n_epochs : int, default=40
        Passes over the rows.
    lr : float, default=1e-3
        Peak learning rate of Adam.
    warmup : float, default=0.2
        Share of the epochs in which only certain rows are used and the rate rises.
    batch_size : int, default=128
        Rows per step at most; small sets take smaller steps.
    hidden_dim : int or "trajectory", default=128
        Width of the denoisers; ``"trajectory"`` is the reference's: as wide as the features.
    lambda_coreg : float, default=2.0
        Weight of the agreement between branches after the warm-up.
    n_resample : int, default=6
        Answers per uncertain row and epoch that sharpen its weights; 0 keeps the prior fixed.
    resample_start : float, default=0.9
        Share of the epochs after which sharpening begins. Sharpening by a half-trained net
        locks in its mistakes.
    simplex_value : float, default=5.0
        A label is +value at its class and -value elsewhere.
    train_timesteps, infer_timesteps : int, default=500, 10
        Steps of the noise schedule in training and in a reverse chain.
    readout : {"mixture", "onehot"}, default="mixture"
        Probabilities of the last step, or (nearly) its best class alone.
    n_chains : int, default=4
        Reverse chains that are averaged per class and branch.
    legacy : bool, default=False
        Behave as the published code [1]_ where that differs: no shuffling, sharpening from the
        start by one chain counted `n_resample` times, step numbers passed for training times,
        sums for means, one-hot read-out.

    See Also
    --------
    SiDyPClassifier : Takes it as ``diffusion``.
    SimplexDiffusionClassifier : Takes it too.

    References
    ----------
    .. [1] SiDyP: simplex diffusion with dynamic prior for denoising LLM-generated labels,
       arXiv 2505.19675.

    Examples
    --------
    >>> from sklfusion import LabelDiffusion, SiDyPClassifier
    >>> model = SiDyPClassifier(diffusion=LabelDiffusion(n_epochs=20))
    >>> model.set_params(diffusion__n_chains=2).diffusion
    LabelDiffusion(n_chains=2, n_epochs=20)
    """

    _parameter_constraints: dict = {
        "n_epochs": [integer(1)],
        "lr": [number(0, closed="neither")],
        "warmup": [number(0, 1)],
        "batch_size": [integer(2)],
        "hidden_dim": [integer(1), one_of("trajectory")],
        "lambda_coreg": [number(0)],
        "n_resample": [integer(0)],
        "resample_start": [number(0, 1)],
        "simplex_value": [number(0, closed="neither")],
        "train_timesteps": [integer(1)],
        "infer_timesteps": [integer(1)],
        "readout": [one_of("mixture", "onehot")],
        "n_chains": [integer(1)],
        "legacy": ["boolean"],
    }

    def __init__(
        self,
        *,
        n_epochs: int = 40,
        lr: float = 1e-3,
        warmup: float = 0.2,
        batch_size: int = 128,
        hidden_dim: int | str = 128,
        lambda_coreg: float = 2.0,
        n_resample: int = 6,
        resample_start: float = 0.9,
        simplex_value: float = 5.0,
        train_timesteps: int = 500,
        infer_timesteps: int = 10,
        readout: str = "mixture",
        n_chains: int = 4,
        legacy: bool = False,
    ) -> None:
        self.n_epochs = n_epochs
        self.lr = lr
        self.warmup = warmup
        self.batch_size = batch_size
        self.hidden_dim = hidden_dim
        self.lambda_coreg = lambda_coreg
        self.n_resample = n_resample
        self.resample_start = resample_start
        self.simplex_value = simplex_value
        self.train_timesteps = train_timesteps
        self.infer_timesteps = infer_timesteps
        self.readout = readout
        self.n_chains = n_chains
        self.legacy = legacy
