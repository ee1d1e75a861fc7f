"""Training: trees of arrays, Adam and L-BFGS-B; an error reports the step at which a fit diverges."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import autograd
import numpy as np

from attnlab.errors import Diverged, SettingError
from attnlab.kernels.normalisers import compiled
from attnlab.progress import at
from attnlab.sizes import room_for
from attnlab.threads import blas, one_thread

__all__ = [
    "Adam",
    "Fitted",
    "Flat",
    "cast",
    "clipped",
    "count",
    "leaves",
    "minibatches",
    "minimise_adam",
    "minimise_lbfgs",
    "on_one_thread",
    "rebuild",
    "seed_sequence",
]

AT_FIRST = "before anything was learned: look at the data, at their scale and for NaN in them, and at the mechanism"

KEPT = 31 * 2**20  # bytes; the page tables of untouched memory are never filled

Tree = Any  # nested dicts of arrays
Loss = Callable[[Tree, Any], Any]  # (params, examples' indices or None for all) -> scalar
Whole = Callable[[Any], Callable[[Any], float | None] | None]


def leaves(tree: Tree, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, array) of each array in nested dicts, in sorted order."""
    if isinstance(tree, dict):
        for name in sorted(tree):
            yield from leaves(tree[name], (*path, name))
    else:
        yield path, tree


def rebuild(tree: Tree, arrays: list[Any]) -> Tree:
    """The tree with its arrays replaced by `arrays`, in the order of `leaves`."""
    remaining = iter(arrays)

    def walk(node: Tree) -> Tree:
        return {name: walk(node[name]) for name in sorted(node)} if isinstance(node, dict) else next(remaining)

    return walk(tree)


def cast(tree: Tree, dtype: Any) -> Tree:
    """The tree with all its arrays in one dtype."""
    return rebuild(tree, [np.asarray(a, dtype=dtype) for _, a in leaves(tree)])


def count(tree: Tree) -> int:
    """How many numbers there are to learn."""
    return sum(int(np.size(a)) for _, a in leaves(tree))


class Flat:
    """The arrays of a tree as views of one vector, so that a step takes few operations, however many arrays it has."""

    def __init__(self, tree: Tree) -> None:
        listed = list(leaves(tree))
        self.paths = [path for path, _ in listed]
        arrays = [np.asarray(a) for _, a in listed]
        self.x = np.concatenate([a.ravel() for a in arrays])
        views, start = [], 0
        for a in arrays:
            views.append(self.x[start : start + a.size].reshape(a.shape))
            start += a.size
        self.tree = rebuild(tree, views)
        self.gradient = np.zeros_like(self.x)
        self._places = [
            (path, self.gradient[sum(v.size for v in views[:i]) :][: view.size].reshape(view.shape))
            for i, (path, view) in enumerate(zip(self.paths, views, strict=True))
        ]
        self.slopes = rebuild(tree, [place for _, place in self._places])  # the gradient as a tree

    def gathered(self, tree: Tree) -> Any:
        """The arrays of a tree like this one, written into `gradient`, in the same order."""
        for path, place in self._places:
            node = tree
            for name in path:
                node = node[name]
            place[...] = node
        return self.gradient

    def kept(self) -> Tree:
        """A copy of the tree as it is now."""
        return rebuild(self.tree, [a.copy() for _, a in leaves(self.tree)])


class Adam:
    """Adam's update of a list of arrays: `step` returns new arrays and does not change its arguments.

        m = beta1 m + (1 - beta1) g            m_hat = m / (1 - beta1^t)
        v = beta2 v + (1 - beta2) g^2          v_hat = v / (1 - beta2^t)
        a - learning_rate m_hat / (sqrt(v_hat) + epsilon)

    References
    ----------
    Kingma and Ba (2015), algorithm 1.
    """

    def __init__(self, learning_rate: float, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> None:
        self.learning_rate, self.beta1, self.beta2, self.epsilon = learning_rate, beta1, beta2, epsilon
        self.t = 0
        self.m: list[Any] = []
        self.v: list[Any] = []

    def step(self, arrays: list[Any], gradients: list[Any]) -> list[Any]:
        away = self.away(arrays, gradients)
        for one, a in zip(away, arrays, strict=True):
            one += a
        return away

    def descend(self, x: Any, g: Any) -> float:
        """Change one vector in place by its gradient; returns the sum of its squares, which is finite where all of it is."""
        if compiled() is None or x.dtype != g.dtype:
            x += self.away([x], [g])[0]
            return float(x.dot(x))
        from attnlab.kernels.compiled_rows import adam

        if not self.m:
            one = x.dtype.type
            self.m, self.v = [np.zeros_like(x)], [np.zeros_like(x)]
            self._compiled = adam
            self._rates = one(self.beta1), one(self.beta2), one(self.epsilon)
        self.t += 1
        one, (beta1, beta2, epsilon) = x.dtype.type, self._rates
        bias1, bias2 = 1 - self.beta1**self.t, 1 - self.beta2**self.t
        rate = one(self.learning_rate / bias1)
        return float(self._compiled(x, g, self.m[0], self.v[0], beta1, beta2, one(bias2), epsilon, rate))

    def away(self, arrays: list[Any], gradients: list[Any]) -> list[Any]:
        """What `step` adds to each array."""
        if not self.m:
            self.m = [np.zeros_like(a) for a in arrays]
            self.v = [np.zeros_like(a) for a in arrays]
        self.t += 1
        bias1, bias2 = 1 - self.beta1**self.t, 1 - self.beta2**self.t
        found = []
        for m, v, g in zip(self.m, self.v, gradients, strict=True):
            away = np.multiply(g, 1 - self.beta2, out=np.empty_like(v))  # an array also for a single number
            away *= g
            v *= self.beta2
            v += away
            np.multiply(g, 1 - self.beta1, out=away)
            m *= self.beta1
            m += away
            np.divide(v, bias2, out=away)  # v_hat
            np.sqrt(away, out=away)
            away += self.epsilon
            np.divide(m, away, out=away)
            away *= -self.learning_rate / bias1
            found.append(away)
        return found


def minibatches(n: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray[Any, Any]]:
    """Endless batches of indices: each epoch has a new order, and its last batch may be smaller."""
    while True:
        order = rng.permutation(n)
        for start in range(0, n, size):
            yield order[start : start + size]


def seed_sequence(random_state: Any) -> np.random.SeedSequence:
    if random_state is None:
        return np.random.SeedSequence()
    if isinstance(random_state, np.random.Generator):
        return np.random.SeedSequence(int(random_state.integers(2**63)))
    if isinstance(random_state, np.random.RandomState):
        return np.random.SeedSequence(int(random_state.randint(2**31)))
    if isinstance(random_state, (int, np.integer)) and random_state >= 0:
        return np.random.SeedSequence(int(random_state))
    raise SettingError(
        f"random_state must be an integer from 0, a numpy.random.Generator or RandomState, or None; got {random_state!r}"
    )


def on_one_thread(fit: Callable[..., Any]) -> Callable[..., Any]:
    """A method during which BLAS has one thread: the products are so small that more threads would only wait.

    A size that there is no memory for is refused by name (`attnlab.TooLarge`).
    """

    @functools.wraps(fit)
    def alone(self: Any, *args: Any, **named: Any) -> Any:
        with one_thread(blas()), room_for(self):
            keep_memory()
            return fit(self, *args, **named)

    return alone


@functools.cache
def keep_memory() -> None:
    """Let the C library keep the memory of large arrays for the next ones.

    At first glibc gives an array of 128 KiB or more back to the system when it is freed, so that each step of training asks for
    new pages. Once a larger array was freed it keeps what is smaller than that one, up to 32 MiB (`mallopt(3)`,
    M_MMAP_THRESHOLD). Elsewhere, and under a limit of memory that is smaller, this does nothing.
    """
    with contextlib.suppress(MemoryError):
        np.empty(KEPT, dtype=np.uint8)


@dataclass
class Fitted:
    """The result of training."""

    params: Tree
    n_iter: int
    loss_curve: list[float]
    validation_curve: list[dict[str, float]] = field(default_factory=list)
    settled: bool = False  # training ended by itself: validation no longer improved, or a minimum was found


def _finite(loss: float, step: int, steps: int, hint: str) -> None:
    if not math.isfinite(loss):
        raise Diverged(f"the loss became {loss} at step {step} of {steps} ({hint})", step)


@dataclass
class Watch:
    """Looks at validation data every `every` steps; with `patience`, it stops and keeps the best.

    It stops after `patience` looks without a better one, but not before `hold` times the step of the best.
    """

    look: Callable[[Tree], dict[str, float]]
    every: int
    patience: int | None
    tolerance: float
    hold: float = 1.0
    curve: list[dict[str, float]] = field(default_factory=list)
    best: float = float("inf")
    best_params: Tree = None
    best_step: int = 0
    waited: int = 0

    def seen(self, step: int, params: Tree) -> bool:
        """Record the state after `step`; returns whether to stop."""
        now = {"step": float(step), **self.look(params)}
        self.curve.append(now)
        if self.patience is None:
            return False
        if self.best_params is None or now["loss"] < self.best - self.tolerance:
            self.best, self.best_params, self.best_step, self.waited = now["loss"], params, step, 0
        else:
            self.waited += 1
        return self.done

    @property
    def done(self) -> bool:
        """Whether validation no longer improves."""
        if self.patience is None or self.waited < self.patience:
            return False
        return self.curve[-1]["step"] >= self.hold * self.best_step


def clipped(gradients: list[Any], norm: float | None) -> list[Any]:
    """The gradients, scaled so that their joint length is at most `norm` (None: unchanged)."""
    if norm is None:
        return gradients
    length = math.sqrt(sum(float(np.vdot(g, g)) for g in gradients))
    return [g * np.asarray(norm / length, dtype=g.dtype) for g in gradients] if length > norm else gradients


def minimise_adam(
    loss: Loss,
    params: Tree,
    batches: Iterator[Any],
    steps: int,
    learning_rate: float,
    watch: Watch | None = None,
    clip_norm: float | None = None,
    by_hand: bool = False,
    warm_up: int = 0,
    whole: Whole | None = None,
) -> Fitted:
    """Minimise by Adam on minibatches, with gradients no longer than `clip_norm`.

    With `by_hand` the loss also gives its gradient: it returns (scalar, tree like params). `whole` may give a function that does
    both at once: from the vector of all arrays, `Flat`, it makes a function of a batch that writes into `flat.gradient` and
    returns the loss, or None for a batch that it leaves to `loss`. In the first `warm_up` steps the learning rate grows from 0 to
    its value.

    Raises
    ------
    Diverged
        At the first step whose loss or parameters are not finite.
    """
    flat = Flat(params)
    gradient = loss if by_hand else _by_autograd(loss)
    at_once = None if whole is None else whole(flat)
    adam = Adam(learning_rate)
    hint = f"learning_rate={learning_rate:g}: a lower one may help"
    curve: list[float] = []
    step = 0
    if watch is not None:
        watch.seen(0, params)
    for step in range(1, steps + 1):
        batch = next(batches)
        value = None if at_once is None else at_once(batch)
        gradients = flat.gradient
        if value is None:
            value, found = gradient(flat.tree, batch)
            gradients = flat.gathered(found)
        curve.append(float(value))
        at(step, steps, "steps", curve[-1])
        if not math.isfinite(curve[-1]):
            _finite(curve[-1], step, steps, AT_FIRST if step == 1 else hint)
        if clip_norm is not None:
            (gradients,) = clipped([gradients], clip_norm)
        if step <= warm_up:
            adam.learning_rate = learning_rate * step / warm_up
        if not math.isfinite(adam.descend(flat.x, gradients)):  # products of such arrays would not be finite either
            steep = step == 1 and not np.isfinite(gradients).all()
            why = f"its gradient is not, {AT_FIRST}" if steep else hint
            raise Diverged(f"a learned array, or its square, is not finite after step {step} of {steps} ({why})", step)
        if watch is not None and (step % watch.every == 0 or step == steps) and watch.seen(step, flat.kept()):
            break
    final = flat.kept()
    if watch is not None and watch.best_params is not None:
        final = watch.best_params
    return Fitted(final, step, curve, watch.curve if watch else [], watch is not None and watch.done)


def _by_autograd(loss: Loss) -> Callable[[Tree, Any], tuple[float, Tree]]:
    """The loss with its gradient."""

    def gradient(params: Tree, batch: Any) -> tuple[float, Tree]:
        value, found = autograd.value_and_grad(lambda arrays: loss(rebuild(params, arrays), batch))(
            [a for _, a in leaves(params)]
        )
        return float(value), rebuild(params, found)

    return gradient


def minimise_lbfgs(loss: Loss, params: Tree, steps: int, watch: Watch | None = None, by_hand: bool = False) -> Fitted:
    """Minimise over all examples at once by scipy's L-BFGS-B; `by_hand` is that of `minimise_adam`.

    Raises
    ------
    Diverged
        At the first iteration whose loss is not finite.
    """
    from scipy.optimize import minimize

    arrays = [a for _, a in leaves(params)]
    shapes = [(a.shape, a.size, a.dtype) for a in arrays]
    gradient = loss if by_hand else _by_autograd(loss)
    curve: list[float] = []

    def unravel(x: Any) -> list[Any]:
        parts, start = [], 0
        for shape, size, dtype in shapes:
            parts.append(x[start : start + size].reshape(shape).astype(dtype))
            start += size
        return parts

    def value_and_gradient(x: Any) -> tuple[float, Any]:
        value, found = gradient(rebuild(params, unravel(x)), None)
        hint = "L-BFGS-B: scale the inputs, or use Adam"
        _finite(float(value), len(curve) + 1, steps, AT_FIRST if np.array_equal(x, start) else hint)
        return float(value), np.concatenate([np.ravel(g).astype(np.float64) for _, g in leaves(found)])

    def after(intermediate_result: Any) -> None:
        curve.append(float(intermediate_result.fun))
        at(len(curve), steps, "steps", curve[-1])
        if watch is not None and watch.seen(len(curve), rebuild(params, unravel(intermediate_result.x))):
            raise StopIteration

    start = np.concatenate([np.ravel(a).astype(np.float64) for a in arrays])
    if watch is not None:
        watch.seen(0, params)
    found = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": steps}, callback=after)
    final = rebuild(params, unravel(found.x))
    if watch is not None and watch.best_params is not None:
        final = watch.best_params
    settled = bool(found.success) or (watch is not None and watch.done)
    return Fitted(final, len(curve), curve, watch.curve if watch else [], settled)
