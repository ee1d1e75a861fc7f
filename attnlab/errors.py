"""Everything attnlab raises on purpose.

AttnlabError                     the root: catch this to catch what attnlab refuses
├── ShapeError (ValueError)      two arrays disagree about an axis
├── SettingError (ValueError)    a setting that a component does not have, or out of its range
├── UnknownName (KeyError)       no component of that kind has that name
├── AmbiguousName (KeyError)     two distributions registered the same name
├── ComponentError (TypeError)   a class that does not keep the contract of its kind
├── Unsupported                  a part refuses a combination, and says why (a sweep records `skipped`)
├── NotInitialised (ValueError)  a part has arrays to learn and was given neither params nor rng
├── TooLarge (MemoryError)       sizes that there is no memory for (a sweep records `oom`)
├── Diverged                     training met NaN or inf (a sweep records `invalid`)
├── InvalidResult                a model returned weights or values of the wrong shape, or not finite
├── InputChanged                 a file of a run is gone, or holds something else than was planned
├── ExperimentError              a mistake in an experiment file: file:line:column, what, what is allowed
├── BitextError (ValueError)     a mistake in a file of sentence pairs or alignments: file:line, what, what is allowed
├── ClusterLost                  the scheduler of a cluster cannot be reached, or no longer answers
└── StoreError                   the results store cannot be used: locked, corrupt, newer, not a store
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AmbiguousName",
    "AttnlabError",
    "BitextError",
    "ClusterLost",
    "ComponentError",
    "Diverged",
    "ExperimentError",
    "InputChanged",
    "InvalidResult",
    "NotInitialised",
    "NothingToLearn",
    "SettingError",
    "ShapeError",
    "StoreError",
    "TooLarge",
    "UnknownName",
    "Unsupported",
    "did_you_mean",
    "message_of",
]


_MESSAGE = 2**16  # characters of a message at most


def message_of(error: BaseException) -> str:
    """What an exception says, whoever wrote its class: also where it has no message to give, or one without end."""
    try:
        text = str(error)
        return str.encode(text[:_MESSAGE], "utf-8", "surrogatepass").decode("utf-8", "surrogatepass")
    except BaseException as failure:  # SystemExit too: it was only asked what it says
        return f"(what it says cannot be had: its __str__ raised {type(failure).__name__})"


class AttnlabError(Exception):
    """The root of what attnlab raises on purpose."""


class ShapeError(AttnlabError, ValueError):
    """Two arrays disagree about an axis."""


class SettingError(AttnlabError, ValueError):
    """A setting that a component does not have, or a value outside its range."""


class _NameError(AttnlabError, KeyError):
    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0]) if self.args else ""


class UnknownName(_NameError):
    """No component of that kind has that name."""


class AmbiguousName(_NameError):
    """Two distributions registered the same name."""


class ComponentError(AttnlabError, TypeError):
    """A class that does not keep the contract of its kind."""


class Unsupported(AttnlabError):
    """A part refuses a combination, and says why."""


class NotInitialised(AttnlabError, ValueError):
    """A part has arrays to learn, and neither params nor rng was given."""


class TooLarge(AttnlabError, MemoryError):
    """Settings of size need more memory than there is."""


class Diverged(AttnlabError):
    """Training met NaN or inf; `step` says where it began."""

    def __init__(self, message: str, step: int = -1) -> None:
        super().__init__(message, step)
        self.step = step

    def __str__(self) -> str:
        return str(self.args[0])


class InvalidResult(AttnlabError):
    """A model returned weights or values that are not finite or have the wrong shape."""


class InputChanged(AttnlabError):
    """A file of a run is gone, or no longer holds what was planned."""


class ExperimentError(AttnlabError):
    """A mistake in an experiment; each line of the message begins with file:line:column."""


class BitextError(AttnlabError, ValueError):
    """A mistake in a file of sentence pairs or word alignments; the message begins with the file and, where there is one, the line."""


class ClusterLost(AttnlabError):
    """The scheduler of a cluster cannot be reached, or no longer answers; what was finished is stored."""


class StoreError(AttnlabError):
    """The results store cannot be used, and what to do about it."""


class NothingToLearn(UserWarning):
    """fit had nothing to learn, and trained nothing."""


def did_you_mean(word: str, known: Iterable[str], limit: int = 3) -> str:
    """' (did you mean x?)' for the nearest of `known`, or ''."""
    near = difflib.get_close_matches(str(word), [str(k) for k in known], n=limit, cutoff=0.6)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
