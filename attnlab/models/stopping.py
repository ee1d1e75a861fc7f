"""When a fit ends: the settings that models share, and whether the fit ended while it still improved."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Lt

from attnlab.models.training import Fitted, Tree, Watch

__all__ = ["MOST_STEPS", "Every", "Fraction", "Patience", "Steps", "Stopping", "Tolerance", "still_improves"]

MOST_STEPS = 20_000  # of a fit without `steps`
HOLD = 1.5  # a fit without `steps` takes at least this many times the steps of the best
FEWEST = 10  # the fewest steps whose mean loss is compared with that of others
STILL = 0.01  # a loss still falls if it falls by more than this share from one tenth of the steps to the next

Steps = Annotated[int, Ge(0)] | None
Fraction = Annotated[float, Gt(0), Lt(1)]
Every = Annotated[int, Gt(0)]
Patience = Annotated[int, Gt(0)]
Tolerance = Annotated[float, Ge(0)]


@dataclass(frozen=True)
class Stopping:
    """When a fit ends.

    Without `steps` a fit ends when validation no longer improves, and the best state is kept. With `steps` it takes that many
    steps, or fewer with `early_stopping`. Validation data are those given to `fit`, or a part of the training data held out.

    Parameters
    ----------
    steps : int >= 0, or None
        Minibatches, or iterations of L-BFGS-B. None takes as many as needed, at most 20,000. A fit that ends there while it
        still improves gives scikit-learn's ConvergenceWarning.
    early_stopping : bool
        Whether a fit with `steps` may end early. A fit without `steps` always may.
    validation_fraction : float in (0, 1)
        The share that is held out, when `fit` is given no validation data.
    validate_every : int > 0, steps
        How often to look at validation data (L-BFGS-B: at each iteration).
    n_iter_no_change : int > 0, looks
        How many looks at validation data may pass without its loss falling by `tol`. Without `steps`, half as many steps as
        led to the best state must also pass, because slow learning may take long to improve again.
    tol : float >= 0, in the unit of the loss
        The smallest fall that counts, also for `converged_`.

    Notes
    -----
    The attribute `converged_` of a fitted model says whether learning was finished: validation no longer improved, L-BFGS-B
    found a minimum, or the mean loss of the last tenth of the steps was lower than that of the tenth before by at most 1 %,
    or by at most `tol`. At least 10 steps are compared with 10, and fewer than 20 steps are too few. Minibatches are noisy,
    so this can be wrong in either direction for some fits of a few hundred steps. A model that has learned nothing, because
    there was nothing to learn or it took no steps, counts as converged.
    """

    steps: int | None
    early_stopping: bool
    validation_fraction: float
    validate_every: int
    n_iter_no_change: int
    tol: float

    @classmethod
    def of(cls, model: Any) -> Stopping:
        """The settings of a model, which has the same names for them."""
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
        """The object that looks at validation data and stops a fit that may be stopped."""
        patience = self.n_iter_no_change if self.stops else None
        hold = HOLD if self.steps is None else 1.0
        return Watch(look, self.validate_every if every is None else every, patience, self.tol, hold)

    def converged(self, fitted: Fitted) -> bool:
        """Whether learning was finished; if it was not, and the fit had no `steps`, a warning says so."""
        curve = fitted.loss_curve
        if fitted.settled or not still_improves(curve, self.tol):
            return True
        if self.steps is None:
            from sklearn.exceptions import ConvergenceWarning

            warnings.warn(
                f"after {fitted.n_iter} steps, the most without `steps`, the loss still falls (to {curve[-1]:.3g}): give "
                f"more, such as steps={2 * fitted.n_iter}, or a higher learning_rate",
                ConvergenceWarning,
                stacklevel=6,
            )
        return False


def still_improves(curve: list[float], tol: float = 0.0) -> bool:
    """Whether the mean of the last tenth of a loss curve is below the tenth before by more than 1 % and `tol`.

    Means of fewer than 10 steps are never compared. A curve of fewer than 20 steps counts as falling unless it is flat.
    """
    size = max(FEWEST, round(len(curve) / 10))
    if len(curve) < 2 * size:
        return bool(curve) and max(curve) - min(curve) > tol
    last, before = float(np.mean(curve[-size:])), float(np.mean(curve[-2 * size : -size]))
    return before - last > max(tol, STILL * abs(before))
