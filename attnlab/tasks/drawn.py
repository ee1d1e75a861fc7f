"""DrawnTask: what the tasks share that draw their examples at random."""

# The annotations of the settings below are objects, not text: a task in another module inherits them, and their names
# need not be known there. So `from __future__ import annotations` is left out.

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from attnlab.data import AlignmentData, Splits
from attnlab.errors import ShapeError
from attnlab.injection import call
from attnlab.interfaces import Task
from attnlab.sizes import EACH, refuse_sizes, room_for

__all__ = ["BLOCK", "Array", "Count", "DrawnTask", "Rng"]

Array = np.ndarray[Any, Any]
Rng = np.random.Generator
Count = Annotated[int, Ge(1)]

BLOCK = 256  # examples that are drawn together
ARRAYS = ("Q", "K", "V", "mask", "gold", "target", "possible", "ids", "inputs", "gold_by_layer")


@dataclass(eq=False, repr=False)
class DrawnTask(Task):
    """A task that draws its examples: write `draw(rng, n)`, and `make` gives the splits.

    `make` draws each split in blocks of 256 examples. The random stream of a block depends on the `rng` of `make`, the name
    of the split and the number of the block, and on nothing else. So the first examples stay the same, bit for bit, when
    more are drawn, and those of a test condition stay the same whatever other conditions there are.

    A task defines:

    `draw(rng, n, ...) -> AlignmentData`
        n examples. It asks by name for what else it needs: `split` ("train", "validation", or the name of a test condition),
        `block` (the number of the block, from 0), what `shared` returns, and what `conditions` gives. All blocks of a split
        must have the same shape: pad to the longest example that the settings allow, not to the longest that was drawn.
    `shared(rng) -> dict`
        What is drawn once and holds for all splits, such as a vocabulary, by name. It has a random stream of its own.
    `conditions() -> dict`
        The further test conditions: their names, and what `draw` gets for each, by name.

    Parameters
    ----------
    n_train, n_validation, n_test : int, at least 1
        Examples of each split; n_test holds for each test condition.

    Notes
    -----
    Settings named in `counts` say only how many examples and which test conditions there are. They must not change any
    example, and a sweep leaves them out when it chooses the random stream of the data: two runs that differ in them alone
    have the same examples. A task with settings for its test conditions adds these: `counts = (*DrawnTask.counts, "noises")`.

    The sizes may be redeclared with other defaults, and a task may have an `__init__` of its own, as any component.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> @dataclass(eq=False, repr=False)
    ... class Middle(DrawnTask):
    ...     '''The key in the middle, whatever it holds.'''
    ...     noise: float = 0.0
    ...     name = "middle"
    ...
    ...     def draw(self, rng, n):
    ...         K = rng.normal(size=(n, 5, 4))
    ...         Q = 1 + self.noise * rng.normal(size=(n, 1, 4))
    ...         return AlignmentData(Q, K, K, gold=np.tile(np.eye(5)[2], (n, 1, 1)))
    >>> few, many = (Middle(n_train=n).make(np.random.default_rng(0)).train for n in (10, 1000))
    >>> bool((few.K == many.K[:10]).all())
    True
    """

    counts: ClassVar[tuple[str, ...]] = ("n_train", "n_validation", "n_test")

    _: KW_ONLY
    n_train: Count = 512
    n_validation: Count = 128
    n_test: Count = 256

    if TYPE_CHECKING:  # what it asks for by name differs from task to task
        draw: ClassVar[Callable[..., AlignmentData]]
    else:

        def draw(self, rng, n):
            """n examples, an `AlignmentData`; the first of them are the same for every larger n."""
            raise NotImplementedError(f"{type(self).__name__} must define draw(rng, n) -> AlignmentData of n examples")

    def shared(self, rng: Rng) -> Mapping[str, Any]:
        """What is drawn once for all splits, by name; nothing by default."""
        return {}

    def conditions(self) -> Mapping[str, Mapping[str, Any]]:
        """What `draw` gets for each test condition besides `test`, by the condition's name; none by default."""
        return {}

    def make(self, rng: Rng) -> Splits:
        """The splits: `train`, `validation`, and the test conditions, of which `test` is the first.

        Raises
        ------
        ValueError, ShapeError
            When `draw` gives too few or too many examples, or blocks of different shapes.
        """
        with room_for(self):
            return self._made(rng, learned_from=True)

    def make_to_measure(self, rng: Rng) -> Splits:
        """As `make`, with one example to learn from, of the right shape: for a model that learns nothing.

        Validation and test examples are those of `make`, bit for bit. The one example of `train` is not among those of `make`.
        """
        with room_for(self):
            return self._made(rng, learned_from=False)

    def _made(self, rng: Rng, learned_from: bool) -> Splits:
        if type(self).__module__.startswith("attnlab."):  # a setting of others may be anything
            refuse_sizes(self, lambda setting, value: EACH * value)
        further = {name: dict(given) for name, given in self.conditions().items()}
        root = rng.bytes(16)
        shared = dict(self.shared(_stream(root, "shared")))

        def part(split: str, n: int, stream: str, given: Mapping[str, Any]) -> AlignmentData:
            numbers = range(max(1, -(-n // BLOCK)))
            blocks = [self._block(_stream(root, stream, 0), split, 0, {**shared, **given})]
            self._refuse_many(blocks[0])
            blocks += [self._block(_stream(root, stream, b), split, b, {**shared, **given}) for b in numbers[1:]]
            blocks[-1] = blocks[-1][: n - BLOCK * numbers[-1]]
            return self._joined(split, blocks)

        return Splits(
            part("train", self.n_train, "train", {})
            if learned_from
            else self._block(_stream(root, "train", 0), "train", 0, shared, n=1),
            part("validation", self.n_validation, "validation", {}),
            {name: part(name, self.n_test, f"test:{name}", given) for name, given in {"test": {}, **further}.items()},
        )

    def _refuse_many(self, block: AlignmentData) -> None:
        arrays = [getattr(block, name) for name in ARRAYS]
        each = sum(array.nbytes for array in arrays if array is not None) // BLOCK
        refuse_sizes(self, lambda setting, value: each * value if setting in DrawnTask.counts else 0)

    def _block(self, rng: Rng, split: str, block: int, given: Mapping[str, Any], n: int = BLOCK) -> AlignmentData:
        drawn = call(self, "draw", **{"rng": rng, "n": n, "split": split, "block": block, **given})
        if not isinstance(drawn, AlignmentData) or len(drawn) != n:
            what = f"{len(drawn)} examples" if isinstance(drawn, AlignmentData) else type(drawn).__name__
            raise ValueError(f"{type(self).__name__}.draw must give AlignmentData of n = {n} examples; got {what}")
        return drawn

    def _joined(self, split: str, blocks: list[AlignmentData]) -> AlignmentData:
        arrays: dict[str, Any] = {}
        for name in ARRAYS:
            found = [getattr(block, name) for block in blocks]
            shapes = list(dict.fromkeys("none" if array is None else str(array.shape[1:]) for array in found))
            if len(shapes) > 1:
                raise ShapeError(
                    f"{type(self).__name__}.draw: {name} of an example must have the same shape in each block of {split}; "
                    f"got {' and '.join(shapes)}. Pad to the longest example that the settings allow"
                )
            arrays[name] = None if found[0] is None else np.concatenate(found)
        tokens = [block.tokens for block in blocks]
        said = None if tokens[0] is None else [pair for block in tokens for pair in block]
        return AlignmentData(**arrays, tokens=said)


def _stream(root: bytes, *key: object) -> Rng:
    """A random stream that depends on these alone."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(root + repr(key).encode()).digest(), "big"))
