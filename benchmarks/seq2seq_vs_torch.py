"""The RNN encoder-decoder with attention against the same model in PyTorch eager: training steps and predictions a second.

    python benchmarks/seq2seq_vs_torch.py [--repeats 15] [--steps 5] [--attention 128] [--all]

The mechanism is additive with softmax; `--all` takes five similarities with three normalisers, and needs the entmax package.

Both have the same parameters (copied over), the same batches and the same number of steps, one thread each, float32. First the
losses of the two and their predictions are compared; then they run by turns, and medians and their ratio are printed: above
1 attnlab is the faster. Batch 64, 20 tokens a sentence, hidden and embedding width 128.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

import attnlab
from attnlab.models.training import minimise_adam

BATCH, LENGTH, WIDTH, WORDS = 64, 20, 128, 200
START, STOP = 1, 2


def sparse(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """A normaliser of the entmax package."""

    def weigh(scores: torch.Tensor) -> torch.Tensor:
        import entmax

        return getattr(entmax, name)(scores, dim=1)

    return weigh


WEIGH = {
    "softmax": lambda scores: scores.softmax(dim=1),
    "sparsemax": sparse("sparsemax"),
    "entmax": sparse("entmax15"),
}


class Peer(nn.Module):
    """Bahdanau's decoder as one would write it in PyTorch: keys projected once, a GRUCell a step."""

    def __init__(self, words: int, attention: int, similarity: str, normaliser: str) -> None:
        super().__init__()
        self.similarity, self.weigh = similarity, WEIGH[normaliser]
        self.source, self.target = nn.Embedding(words, WIDTH), nn.Embedding(words, WIDTH)
        self.encoder = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.start = nn.Linear(WIDTH, WIDTH)
        if similarity == "additive":
            self.key, self.query = nn.Linear(WIDTH, attention), nn.Linear(WIDTH, attention, bias=False)
            self.v = nn.Linear(attention, 1, bias=False)
        elif similarity == "general":
            self.map = nn.Linear(WIDTH, WIDTH, bias=False)
        elif similarity == "cosine":
            self.log_temperature = nn.Parameter(torch.zeros(()))
        self.cell = nn.GRUCell(2 * WIDTH, WIDTH)
        self.hidden, self.out = nn.Linear(2 * WIDTH, WIDTH), nn.Linear(WIDTH, words)

    def keys(self, H: torch.Tensor) -> torch.Tensor:
        """What the scores compute from the encoder's states once."""
        if self.similarity == "additive":
            return self.key(H)
        return nn.functional.normalize(H, dim=-1) if self.similarity == "cosine" else H

    def scores(self, s: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        if self.similarity == "additive":
            return self.v(torch.tanh(self.query(s)[:, None] + keys))[..., 0]
        if self.similarity == "general":
            s = self.map(s)
        elif self.similarity == "scaled_dot":
            s = s / WIDTH**0.5
        elif self.similarity == "cosine":
            s = nn.functional.normalize(s, dim=-1) * torch.exp(-self.log_temperature)
        return torch.bmm(keys, s[..., None])[..., 0]

    def look(self, s: torch.Tensor, keys: torch.Tensor, H: torch.Tensor) -> torch.Tensor:
        return torch.bmm(self.weigh(self.scores(s, keys))[:, None], H)[:, 0]

    def forward(self, X: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        H, last = self.encoder(self.source(X))
        s, keys, E = torch.tanh(self.start(last[0])), self.keys(H), self.target(inputs)
        outputs = []
        for t in range(inputs.shape[1]):
            c = self.look(s, keys, H)
            s = self.cell(torch.cat([E[:, t], c], dim=1), s)
            outputs.append(torch.cat([s, c], dim=1))
        return self.out(torch.tanh(self.hidden(torch.stack(outputs, dim=1))))

    @torch.no_grad()
    def predict(self, X: torch.Tensor, steps: int) -> torch.Tensor:
        H, last = self.encoder(self.source(X))
        s, keys = torch.tanh(self.start(last[0])), self.keys(H)
        tokens, said = torch.full((len(X),), START), []
        for _ in range(steps):
            c = self.look(s, keys, H)
            s = self.cell(torch.cat([self.target(tokens), c], dim=1), s)
            scores = self.out(torch.tanh(self.hidden(torch.cat([s, c], dim=1))))
            scores[:, [0, START, 3]] = -torch.inf
            tokens = scores.argmax(dim=1)
            said.append(tokens)
            if (tokens == STOP).all():
                break
        return torch.stack(said, dim=1)

    @torch.no_grad()
    def copy_from(self, params: dict) -> None:
        gru = {"weight_ih": "Wi", "weight_hh": "Wh", "bias_ih": "bi", "bias_hh": "bh"}
        pairs = [(getattr(self.encoder, f"{a}_l0"), params["encoder"][b]) for a, b in gru.items()]
        pairs += [(getattr(self.cell, a), params["decoder"]["gru"][b]) for a, b in gru.items()]
        own = params["decoder"]["mechanism"]["similarity"]
        if self.similarity == "additive":
            pairs += [(self.key.weight, own["Wk"]), (self.key.bias, own["b"])]
            pairs += [(self.query.weight, own["Wq"]), (self.v.weight, own["v"][:, None])]
        elif self.similarity == "general":
            pairs += [(self.map.weight, own["W"])]
        elif self.similarity == "cosine":
            pairs += [(self.log_temperature, own["log_temperature"])]
        for layer, own, w, b in ((self.start, "start", "W", "b"), (self.hidden, "readout", "Wr", "br")):
            pairs += [(layer.weight, params[own][w]), (layer.bias, params[own][b])]
        pairs += [(self.out.weight, params["readout"]["Wy"]), (self.out.bias, params["readout"]["by"])]
        for parameter, array in pairs:
            parameter.copy_(torch.from_numpy(np.array(array.T)))
        for table in ("source", "target"):
            getattr(self, table).weight.copy_(torch.from_numpy(np.array(params["embedding"][table])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--attention", type=int, default=WIDTH, help="hidden units of the additive similarity")
    parser.add_argument("--all", action="store_true", help="five similarities with three normalisers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    similarities = ("dot", "scaled_dot", "cosine", "general", "additive") if options.all else ("additive",)
    found = []
    with threadpool_limits(limits=1):
        for similarity, normaliser in itertools.product(similarities, WEIGH if options.all else ("softmax",)):
            print(f"{similarity}, {normaliser}")
            found.append(compare(options.repeats, options.steps, options.attention, similarity, normaliser))
    if options.all:
        print(
            f"training: {statistics.geometric_mean(found):.2f} times in the geometric mean, {min(found):.2f} at least"
        )


def compare(repeats: int, steps: int, attention: int, similarity: str, normaliser: str) -> float:
    """The median ratio of training steps a second."""
    rng = np.random.default_rng(0)
    sentences = rng.integers(WORDS, size=(BATCH, LENGTH))
    sentences[:, :4] = np.arange(4 * BATCH).reshape(BATCH, 4) % WORDS  # every word is seen
    X = [[int(w) for w in row] for row in sentences]
    y = [row[::-1] for row in X]
    settings = {"hidden": attention} if similarity == "additive" else {}
    mechanism = attnlab.Mechanism({similarity: settings}, normaliser)
    model = attnlab.AttentionSeq2Seq(
        mechanism,
        encoder="rnn",
        embedding_dim=WIDTH,
        hidden_dim=WIDTH,
        batch_size=BATCH,
        steps=1,
        random_state=0,
    ).fit(X, y)
    pairs = model._numbered(X, X, y)
    rate, clip = model.learning_rate, model.clip_norm

    def loss(params, rows):
        return model._network.loss(params, pairs.pick(rows), training=True)

    def every_row():
        while True:
            yield range(BATCH)

    words = len(model.target_vocabulary_)
    peer = Peer(words, attention, similarity, normaliser)
    peer.copy_from(model.params_)
    n_peer = sum(p.numel() for p in peer.parameters())
    assert n_peer == model.n_parameters_, (n_peer, model.n_parameters_)
    ids = torch.tensor(pairs.source)
    inputs = torch.tensor([[START, *row] for row in pairs.target])
    targets = torch.tensor([[*row, STOP] for row in pairs.target])
    entropy = nn.CrossEntropyLoss()

    def peer_loss():
        return entropy(peer(ids, inputs).flatten(0, 1), targets.flatten())

    def train_peer():
        adam = torch.optim.Adam(peer.parameters(), lr=rate)
        for _ in range(steps):
            adam.zero_grad()
            value = peer_loss()
            value.backward()
            nn.utils.clip_grad_norm_(peer.parameters(), clip)
            adam.step()

    print(f"loss: attnlab {float(loss(model.params_, range(BATCH))):.6f}, torch {peer_loss().item():.6f}")
    print(f"parameters: {model.n_parameters_} each; one thread each")
    start = model.params_
    train, say = {"attnlab": [], "torch": []}, {"attnlab": [], "torch": []}
    model.max_length = LENGTH
    for repeat in range(repeats + 1):
        began = time.perf_counter()
        fitted = minimise_adam(loss, start, every_row(), steps, rate, clip_norm=clip)
        middle = time.perf_counter()
        peer.copy_from(start)
        torch_began = time.perf_counter()
        train_peer()
        ended = time.perf_counter()
        if repeat:  # the first is to warm up
            train["attnlab"].append(steps / (middle - began))
            train["torch"].append(steps / (ended - torch_began))
        model.params_ = fitted.params
        peer.copy_from(fitted.params)
        began = time.perf_counter()
        said = model.predict(X)
        middle = time.perf_counter()
        peer_said = peer.predict(ids, LENGTH)
        ended = time.perf_counter()
        if repeat:
            say["attnlab"].append(BATCH / (middle - began))
            say["torch"].append(BATCH / (ended - middle))
        other = [model.target_vocabulary_.words(row) for row in peer_said.tolist()]
        assert np.mean([a == b for a, b in zip(said, other, strict=True)]) > 0.9, "the two models say different things"
    medians = {}
    for what, unit, found in (("training", "steps/s", train), ("prediction", "sentences/s", say)):
        ours, theirs = statistics.median(found["attnlab"]), statistics.median(found["torch"])
        ratios = sorted(a / b for a, b in zip(found["attnlab"], found["torch"], strict=True))
        medians[what] = statistics.median(ratios)
        print(
            f"{what}: attnlab {ours:.1f} {unit}, torch {theirs:.1f} {unit}; median ratio {medians[what]:.2f} "
            f"(of {repeats} turns, {ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
    return medians["training"]


if __name__ == "__main__":
    main()
