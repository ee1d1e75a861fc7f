"""A stack of self-attention layers against the same model in PyTorch eager: a step of training, in processor time.

    python benchmarks/stack_vs_torch.py [--repeats 15] [--steps 5] [--layers 2] [--width 64] [--heads 4] [--length 64] [--batch 32]
        [--mlp 4] [--profile]

Both have the same arrays (copied over), the same batches and one thread each, float32. The step is the loss, its gradient, clipping and
Adam. First the losses of the two are compared; then they run by turns, and medians and their ratio are printed: above 1 attnlab
is the faster. `--profile` lists what attnlab's step spends its time on.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

import attnlab
from attnlab.models.stack.gradient import loss_and_gradient
from attnlab.models.training import keep_memory, minimise_adam

TOKENS = 64


class Layer(nn.Module):
    """A layer as one would write it in PyTorch, with its own attention."""

    def __init__(self, d: int, heads: int, mlp: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.RMSNorm(d, eps=1e-5)
        self.joined, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.mlp = (
            nn.Sequential(nn.RMSNorm(d, eps=1e-5), nn.Linear(d, mlp * d), nn.GELU("tanh"), nn.Linear(mlp * d, d))
            if mlp
            else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, d = x.shape
        split = self.joined(self.norm(x)).reshape(n, length, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(*split, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(n, length, d))
        return x if self.mlp is None else x + self.mlp(x)


class Peer(nn.Module):
    """The stack as one would write it in PyTorch."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, args.width)
        self.layers = nn.Sequential(*(Layer(args.width, args.heads, args.mlp) for _ in range(args.layers)))
        self.norm = nn.RMSNorm(args.width, eps=1e-5)
        self.readout = nn.Linear(args.width, TOKENS, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.readout(self.norm(self.layers(self.embedding(ids))))
        return out

    def copy(self, params: Any) -> None:
        """Take the arrays of a stack."""
        with torch.no_grad():
            self.embedding.weight.copy_(torch.tensor(params["embedding"]["E"]))
            self.readout.weight.copy_(torch.tensor(params["readout"]["U"].T))
            for i, layer in enumerate(self.layers):
                own = params["layers"][str(i)]
                joined = np.concatenate([own["attention"][name] for name in ("Wq", "Wk", "Wv")], axis=1)
                layer.joined.weight.copy_(torch.tensor(joined.T))
                layer.out.weight.copy_(torch.tensor(own["attention"]["Wo"].T))
                if layer.mlp is not None:
                    for at, name in ((1, "1"), (3, "2")):
                        layer.mlp[at].weight.copy_(torch.tensor(own["mlp"]["W" + name].T))
                        layer.mlp[at].bias.copy_(torch.tensor(own["mlp"]["b" + name]))


def trained(args: argparse.Namespace) -> tuple[Callable[[], float], Callable[[], float]]:
    """(steps of attnlab's stack, steps of PyTorch's); each call goes on from where the last one ended, and gives the last loss."""
    rng = np.random.default_rng(0)
    ids = rng.integers(TOKENS, size=(256, args.length + 1))
    ids[0, 0] = TOKENS - 1
    stack = attnlab.AttentionStack(
        {"similarity": "scaled_dot"},
        args.layers,
        hidden_dim=args.width,
        heads=args.heads,
        mlp=args.mlp,
        steps=0,
        random_state=0,
    ).fit(ids)
    peer = Peer(args)
    peer.copy(stack.params_)
    adam = torch.optim.Adam(peer.parameters(), lr=0.001)
    places = stack._reader.read(attnlab.AlignmentData.of_sequences(ids), training=True)
    labels = np.full(ids.shape, -1)
    labels[:, :-1] = ids[:, 1:]
    params = [stack.params_]
    mine, his = (np.random.default_rng(1) for _ in range(2))

    def here() -> float:
        batches = (mine.choice(len(ids), args.batch, replace=False) for _ in range(args.steps))
        fitted = minimise_adam(
            lambda now, rows: loss_and_gradient(stack._network, now, stack._reader.pick(places, rows, labels)),
            params[0], batches, args.steps, 0.001, clip_norm=1.0, by_hand=True,
        )  # fmt: skip
        params[0] = fitted.params
        return fitted.loss_curve[-1]

    tensor = torch.tensor(ids)

    def there() -> float:
        for _ in range(args.steps):
            batch = tensor[torch.tensor(his.choice(len(ids), args.batch, replace=False))]
            scores = peer(batch)[:, :-1].reshape(-1, TOKENS)
            loss = nn.functional.cross_entropy(scores, batch[:, 1:].reshape(-1))
            adam.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
            adam.step()
        return loss.item()

    return here, there


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (
        ("repeats", 15),
        ("steps", 5),
        ("layers", 2),
        ("width", 64),
        ("heads", 4),
        ("length", 64),
        ("batch", 32),
        ("mlp", 4),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    warnings.simplefilter("ignore", attnlab.NothingToLearn)
    with threadpool_limits(1):
        here, there = trained(args)
        print(f"loss after {args.steps} steps: attnlab {here():.6f}, PyTorch {there():.6f}")
        seconds: dict[str, list[float]] = {"attnlab": [], "PyTorch": []}
        for _ in range(args.repeats):
            for name, steps in (("attnlab", here), ("PyTorch", there)):
                began = time.process_time()
                steps()
                seconds[name].append((time.process_time() - began) / args.steps)
        medians = {name: 1000 * statistics.median(all_) for name, all_ in seconds.items()}
        spread = ", ".join(f"{name} {ms:.2f} ms a step" for name, ms in medians.items())
        print(f"{spread}: ratio {medians['PyTorch'] / medians['attnlab']:.2f}")
        if args.profile:
            with cProfile.Profile() as profile:
                here()
            pstats.Stats(profile).sort_stats("tottime").print_stats(15)


if __name__ == "__main__":
    main()
