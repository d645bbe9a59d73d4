"""`gradient_flow` and `GradientFlow`: looks into a network while it trains.

The numbers are made by the executor, within the epoch and in every so manieth step alone (see
`fusedmlp.training.observing`); here they are asked for and handed to a report.  What it costs
stands in bench/NOTES.md: with the default of `every`, under 5 % of an epoch of small networks, too.
"""

from __future__ import annotations

import numpy as np

from .. import checks
from ..training.callbacks import Callback
from ..training.observing import Observed
from ..training.trial import refuse_without_steps, trial
from .report import GradientFlowReport
from .verdicts import Thresholds

__all__ = ["GradientFlow", "gradient_flow"]


class GradientFlow(Callback):
    """Observe activations, gradients and updates of every layer during `fit`.

    Training gives the bits that it gives without; an epoch remains one call of the executor.

    Parameters
    ----------
    every : int
        Observe every so manieth update, counted from the first that the optimizer has ever made.
        A step that is observed costs a sixth (784-256-128-10, batches of 128) to two thirds
        (4-16-16-3, batches of 32) of a step more; the other steps cost nothing.
    verbose : {0, 1}
        1 prints the report at the end of the training.
    thresholds : Thresholds, optional
        From where on a number is a sign of disease.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these; in `fit`, if the optimizer looks at all data at once
        (L-BFGS), so that there are no steps.

    Notes
    -----
    Where gradients are accumulated over several steps, the step that makes the update is observed:
    its activations, its own gradient, and the change of the weights.

    Examples
    --------
    >>> import numpy as np
    >>> import fusedmlp as fm
    >>> fm.utils.set_random_seed(1)
    >>> x = np.random.default_rng(1).normal(size=(320, 8))
    >>> model = fm.Sequential([fm.Input((8,)), fm.layers.Dense(16, activation="tanh"),
    ...                        fm.layers.Dense(1)])
    >>> model.compile("adam", "mse")
    >>> flow = fm.diagnostics.GradientFlow(every=5)
    >>> history = model.fit(x, x.sum(axis=1), epochs=2, callbacks=[flow], verbose=0)
    >>> flow.report.steps.tolist(), flow.report.healthy
    ([5, 10, 15, 20], True)
    """

    every_batch = False

    def __init__(self, every: int = 50, verbose: int = 0, thresholds: Thresholds | None = None):
        super().__init__()
        self.observe_every = checks.integer(every, "every", 1)
        self.verbose = checks.integer(verbose, "verbose", 0)
        self.thresholds = _thresholds(thresholds)
        self.observed: list[Observed] = []

    @property
    def report(self) -> GradientFlowReport:
        """What was observed in all epochs; ValueError before there is any."""
        return self.report_of(range(len(self.observed)))

    def report_of(self, epochs) -> GradientFlowReport:
        """The same of one epoch, counted from 0, or of several."""
        numbers = [epochs] if isinstance(epochs, (int, np.integer)) else list(epochs)
        if not numbers or not all(-len(self.observed) <= n < len(self.observed) for n in numbers):
            raise ValueError(
                f"There is a report of the {len(self.observed)} epochs that `fit` has ended with "
                f"this callback. Received: epochs={epochs!r}"
            )
        return GradientFlowReport([self.observed[n] for n in numbers], self.thresholds,
                                  self.observe_every)

    def on_train_begin(self, logs=None):
        refuse_without_steps(self.model.optimizer)
        self.observed = []

    def on_observed(self, epoch, observed):
        """Called at the end of each epoch with what was observed in it."""
        self.observed.append(observed)

    def on_train_end(self, logs=None):
        if self.verbose and self.observed:
            print(self.report)


def gradient_flow(model, x, y=None, sample_weight=None, batch_size: int = 32, steps: int = 10,
                  class_weight=None, thresholds: Thresholds | None = None) -> GradientFlowReport:
    """How signals and gradients flow through a network as it is now.

    Makes some steps of training on trial and observes each; after that the model is as before:
    weights, the optimizer's state, the counts of steps and epochs.

    Parameters
    ----------
    model : Model
        Compiled with a loss and an optimizer that trains step by step.
    x, y, sample_weight, class_weight
        As in `Model.fit`; arrays, of which the first ``steps * batch_size`` rows are looked at, or
        all where there are fewer.
    batch_size : int
    steps : int
    thresholds : Thresholds, optional
        From where on a number is a sign of disease.

    Returns
    -------
    GradientFlowReport

    Raises
    ------
    ValueError, TypeError
        If data or arguments don't fit, the model is not compiled, or its optimizer looks at all
        data at once.
    RuntimeError
        If `fit` of the model is running.

    Examples
    --------
    >>> import numpy as np
    >>> import fusedmlp as fm
    >>> fm.utils.set_random_seed(1)
    >>> x = np.random.default_rng(1).normal(size=(320, 8))
    >>> model = fm.Sequential([fm.Input((8,))] + [
    ...     fm.layers.Dense(16, activation="sigmoid", name=f"layer_{k}") for k in range(10)
    ... ] + [fm.layers.Dense(1, name="out")])
    >>> model.compile("sgd", "mse")
    >>> report = fm.diagnostics.gradient_flow(model, x, x.sum(axis=1))
    >>> finding = report.findings[0]
    >>> finding.problem, finding.layers[0]
    ('vanishing', 'layer_0')
    """
    size, count = checks.integer(batch_size, "batch_size", 1), checks.integer(steps, "steps", 1)
    limits = _thresholds(thresholds)
    observed = trial(model, x, y, sample_weight, class_weight, size, count)
    return GradientFlowReport([observed], limits)


def _thresholds(value):
    if value is None or isinstance(value, Thresholds):
        return value or Thresholds()
    raise TypeError(f"Argument `thresholds` must be a Thresholds. Received: {value!r}")
