"""Mechanisms: parts composed into attention."""

from __future__ import annotations

from attnlab.mechanisms.functional import attend, attention_weights, normalise
from attnlab.mechanisms.mechanism import Mechanism

__all__ = ["Mechanism", "attend", "attention_weights", "normalise"]
