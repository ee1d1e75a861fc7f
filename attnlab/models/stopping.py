"""When a fit ends: the settings that models have in common, and whether it ended while it still improved."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Lt
from sklearn.exceptions import ConvergenceWarning

from attnlab.models.training import Fitted, Tree, Watch

__all__ = ["MOST_STEPS", "Every", "Fraction", "Patience", "Steps", "Stopping", "Tolerance", "still_improves"]

MOST_STEPS = 20_000  # of a fit to which no steps are given
HOLD = 1.5  # a fit to which no steps are given takes so many times the steps of the best, at least
FEWEST = 10  # steps whose mean loss is compared with that of others
STILL = 0.01  # a loss that falls by a greater share than this from one tenth of the steps to the next still falls

Steps = Annotated[int, Ge(0)] | None
Fraction = Annotated[float, Gt(0), Lt(1)]
Every = Annotated[int, Gt(0)]
Patience = Annotated[int, Gt(0)]
Tolerance = Annotated[float, Ge(0)]


@dataclass(frozen=True)
class Stopping:
    """When a fit ends.

    Without `steps` it ends when validation no longer improves, and the best is kept. With `steps` it takes so many, or
    fewer with `early_stopping`. Validation data are those given to `fit`, or a part of the training data that is held out.

    Parameters
    ----------
    steps : int >= 0, or None
        Minibatches, or iterations of L-BFGS-B. None is as many as it takes, at most 20,000; a fit that ends there while it
        still improves raises scikit-learn's ConvergenceWarning.
    early_stopping : bool
        Whether a fit with `steps` may end before; one without ends so in any case.
    validation_fraction : float in (0, 1)
        The share that is held out, when `fit` is given no validation data.
    validate_every : int > 0, steps
        How often to look at validation data (L-BFGS-B: at each iteration).
    n_iter_no_change : int > 0, looks
        How many looks may pass in which the loss of validation data has not fallen by `tol`. Without `steps` also half as
        many steps must pass as there were up to the best: what took long to learn may take long to get better.
    tol : float >= 0, in the unit of the loss
        What counts as falling, also for `converged_`.

    Notes
    -----
    The attribute `converged_` of a fitted model says whether it had come to an end: validation no longer improved, L-BFGS-B
    found a minimum, or the mean loss of the last tenth of the steps was lower than that of the tenth before by at most 1 %,
    or by at most `tol`. At least 10 steps are compared with 10, and fewer than 20 are too few to say so. Minibatches are
    noisy: of fits of some hundred steps a part is called unfinished that is not, or the other way round. A model that has
    learned nothing, with nothing to learn or no steps, counts as converged.
    """

    steps: int | None
    early_stopping: bool
    validation_fraction: float
    validate_every: int
    n_iter_no_change: int
    tol: float

    @classmethod
    def of(cls, model: Any) -> Stopping:
        """The settings of a model, which has them by the same names."""
        return cls(**{field.name: getattr(model, field.name) for field in dataclasses.fields(cls)})

    @property
    def most(self) -> int:
        """The steps that a fit takes at most."""
        return MOST_STEPS if self.steps is None else self.steps

    @property
    def stops(self) -> bool:
        """Whether validation data say when to stop."""
        return self.early_stopping or self.steps is None

    def held(self, n: int, what: str) -> int:
        """How many of `n` examples are held out.

        Raises
        ------
        ValueError
            When that leaves none to learn from.
        """
        held = max(1, round(self.validation_fraction * n))
        if held >= n:
            asked = "early_stopping" if self.early_stopping else "a fit without steps"
            raise ValueError(
                f"{asked} holds out {self.validation_fraction:g} of {n} {what}, which leaves none to learn from: "
                f"give fit validation data, or more {what}{'' if self.early_stopping else ', or a number of steps'}"
            )
        return held

    def watch(self, look: Callable[[Tree], dict[str, float]], every: int | None = None) -> Watch:
        """What looks at validation data, and stops a fit that may be stopped."""
        patience = self.n_iter_no_change if self.stops else None
        hold = HOLD if self.steps is None else 1.0
        return Watch(look, self.validate_every if every is None else every, patience, self.tol, hold)

    def converged(self, fitted: Fitted) -> bool:
        """Whether a fit had come to an end; where none of `steps` were given, a warning says so if it had not."""
        curve = fitted.loss_curve
        if fitted.settled or not still_improves(curve, self.tol):
            return True
        if self.steps is None:
            warnings.warn(
                f"after {fitted.n_iter} steps, the most without `steps`, the loss still falls (to {curve[-1]:.3g}): give "
                f"more, such as steps={2 * fitted.n_iter}, or a higher learning_rate",
                ConvergenceWarning,
                stacklevel=5,
            )
        return False


def still_improves(curve: list[float], tol: float = 0.0) -> bool:
    """Whether the mean of the last tenth of a loss curve is lower than that of the tenth before, by more than 1 % and `tol`.

    Fewer than 10 steps tell nothing, and are never compared; of a curve of fewer than 20 steps it is said unless it is flat.
    """
    size = max(FEWEST, round(len(curve) / 10))
    if len(curve) < 2 * size:
        return bool(curve) and max(curve) - min(curve) > tol
    last, before = float(np.mean(curve[-size:])), float(np.mean(curve[-2 * size : -size]))
    return before - last > max(tol, STILL * abs(before))
