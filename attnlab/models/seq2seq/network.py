"""The network of AttentionSeq2Seq: embeddings, encoder, decoder and read-out, as functions of learned arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from attnlab.arrays import namespace, to_numpy
from attnlab.injection import call
from attnlab.kernels.layers import cross_entropy, dense, embed
from attnlab.models.batches import rows_to_one
from attnlab.models.seq2seq.decoders import Memory
from attnlab.models.seq2seq.pairs import Numbers, Pairs, in_chunks
from attnlab.models.seq2seq.vocabulary import PAD, START, STOP, UNKNOWN, padded

__all__ = ["Network"]

Params = dict[str, Any]


class Network:
    """From source tokens to scores of the next target token: tanh([s_t; c_t] Wr + br) Wy + by.

    Parameters
    ----------
    encoder : Encoder
    decoder : PreviousState, CurrentState, FixedContext, or a fast twin
    summary : "last" or "mean"
        How C = F(h_1..h_m) is made. The decoder's first state is tanh of a linear map of C.
    alignment_weight : float >= 0, nats
        The factor on the squared error of the weights in the loss.
    """

    def __init__(self, encoder: Any, decoder: Any, summary: str, alignment_weight: float = 0.0) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.summary = summary
        self.alignment_weight = alignment_weight

    def init(self, rng: np.random.Generator, n_source: int, n_target: int, e: int, h: int) -> Params:
        """The arrays to learn, for given numbers of source and target tokens, and widths e (embeddings) and h (states)."""
        tables = {}
        for name, size in (("source", n_source), ("target", n_target)):
            tables[name] = rng.normal(size=(size, e))
            tables[name][[PAD, UNKNOWN]] = 0.0
        encoder = call(self.encoder, "init", rng=rng, d_input=e, d_hidden=h)
        d = call(self.encoder, "encode", X=np.zeros((1, 1, e)), mask=np.ones((1, 1), dtype=bool), **encoder).shape[-1]
        return {
            "embedding": tables,
            "encoder": encoder,
            "start": {"W": rng.normal(size=(d, h)) / math.sqrt(d), "b": np.zeros(h)},
            "decoder": self.decoder.init(rng, e, h, d),
            "readout": {
                "Wr": rng.normal(size=(h + d, h)) / math.sqrt(h + d),
                "br": np.zeros(h),
                "Wy": rng.normal(size=(h, n_target)) / math.sqrt(h),
                "by": np.zeros(n_target),
            },
        }

    def encoded(self, params: Params, source: Numbers, lengths: Any) -> tuple[Any, Memory]:
        """(the decoder's first state (n, h), the memory that it attends to)."""
        ids, mask = padded(source)
        H = call(self.encoder, "encode", X=embed(params["embedding"]["source"], ids), mask=mask, **params["encoder"])
        C = self._summary(H, mask)
        start = namespace(H).tanh(dense(C, params["start"]["W"], params["start"]["b"]))
        return start, Memory(H, mask, C, lengths)

    def _summary(self, H: Any, mask: Any) -> Any:
        """C = F(h_1..h_m), (n, d)."""
        if self.summary == "mean":
            there = mask[:, :, None].astype(H.dtype)
            return namespace(H).sum(H * there, axis=1) / there.sum(axis=1)
        if hasattr(self.encoder, "last"):
            return self.encoder.last(H, mask)
        return H[np.arange(len(mask)), mask.sum(axis=1) - 1]

    def taught(self, params: Params, pairs: Pairs, **context: Any) -> tuple[Any, Any, Any, Any]:
        """With the true tokens as inputs: (scores (n, T, v), W (n, T, m), targets with their stop (n, T), mask (n, T))."""
        inputs, _ = padded([[START, *s] for s in pairs.target])
        targets, alive = padded([[*s, STOP] for s in pairs.target])
        lengths = np.array([(len(t) + 1, len(s)) for s, t in zip(pairs.source, pairs.target, strict=True)])
        start, memory = self.encoded(params, pairs.source, lengths)
        E = embed(params["embedding"]["target"], inputs)
        SC, W = self.decoder.run(params["decoder"], E, start, memory, **context)
        return self._read_out(params, SC), W, targets, alive

    def loss(self, params: Params, pairs: Pairs, **context: Any) -> Any:
        """The mean cross entropy of a target token with the stop, in nats, plus the term of the weights."""
        scores, W, targets, alive = self.taught(params, pairs, **context)
        scores = namespace(scores).reshape(scores, (-1, scores.shape[-1]))
        loss = cross_entropy(scores, targets.ravel(), alive.ravel() / alive.sum())
        if not self.alignment_weight or pairs.data is None or pairs.data.gold is None:
            return loss
        return loss + self.alignment_weight * _misaligned(W, pairs.data.gold)

    def weights(self, params: Params, pairs: Pairs) -> list[Any]:
        """The weights (target tokens, source tokens) of each pair, with the true tokens as inputs."""
        weights: list[Any] = [None] * len(pairs.source)
        for rows in in_chunks(pairs.lengths):
            W = to_numpy(self.taught(params, pairs.pick(rows))[1])
            for row, w in zip(rows, W, strict=True):
                weights[row] = np.array(w[: len(pairs.target[row]), : len(pairs.source[row])])
        return weights

    def step(self, params: Params, tokens: Any, state: Any, t: int) -> tuple[Any, Any]:
        """The scores of the next token (n, v) after `tokens` (n,); a state is (the decoder's state, its memory)."""
        s, memory = state
        e = params["embedding"]["target"][tokens]
        s, c, _, memory = self.decoder.step(params["decoder"], e, s, memory, t)
        return self._read_out(params, np.concatenate([s, c], axis=1)), (s, memory)

    @staticmethod
    def _read_out(params: Params, SC: Any) -> Any:
        own = params["readout"]
        return dense(namespace(SC).tanh(dense(SC, own["Wr"], own["br"])), own["Wy"], own["by"])


def _misaligned(W: Any, gold: Any) -> Any:
    """The squared error |w - gold|^2 of weights (n, T, m), the mean over the rows of gold (n, q, k) that have links.

    T counts the stop as well. One may be padded further than the other; places beyond the shorter one have no links.
    """
    q, k = min(W.shape[1], gold.shape[1]), min(W.shape[2], gold.shape[2])
    gold = rows_to_one(gold[:, :q, :k], W.dtype)
    linked = gold.any(axis=-1)
    away = W[:, :q, :k] - gold
    return namespace(W).sum(away * away * linked[:, :, None]) / max(1, linked.sum())
