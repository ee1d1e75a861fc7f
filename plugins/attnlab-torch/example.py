"""A plain PyTorch script with attnlab's attention: each query must find the key that it is a noisy copy of.

python plugins/attnlab-torch/example.py [--device cuda] [--steps 300]
"""

from __future__ import annotations

import argparse

import torch
from attnlab_torch import AttentionModule
from torch import nn


class Finder(nn.Module):
    """Two learned maps, and a mechanism between them."""

    def __init__(self, d: int = 16, classes: int = 8) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(d, d), nn.Linear(d, d)
        self.attend = AttentionModule({"similarity": "additive", "normaliser": "entmax"}, d, d, classes, rng=0)

    def forward(self, Q: torch.Tensor, K: torch.Tensor, V: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.attend(self.query(Q), self.key(K), V)
        return found


def examples(n: int, device: str) -> tuple[torch.Tensor, ...]:
    """Queries (n, 4, 16), keys (n, 12, 16), values (n, 12, 8) that are one-hot, and the classes asked for (n, 4)."""
    K = torch.randn(n, 12, 16, device=device)
    label = torch.randint(8, (n, 12), device=device)
    place = torch.randint(12, (n, 4), device=device)
    Q = K.gather(1, place[..., None].expand(-1, -1, 16)) + 0.3 * torch.randn(n, 4, 16, device=device)
    return Q, K, nn.functional.one_hot(label, 8).float(), label.gather(1, place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    torch.manual_seed(0)
    model = Finder().to(args.device)
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(args.steps + 1):
        Q, K, V, label = examples(64, args.device)
        scores = model(Q, K, V)
        loss = ((scores - nn.functional.one_hot(label, 8)) ** 2).mean()
        if step % 100 == 0:
            right = (scores.argmax(-1) == label).float().mean()
            print(f"step {step}: loss {loss.item():.4f}, right {right.item():.2f}")
        adam.zero_grad()
        loss.backward()
        adam.step()


if __name__ == "__main__":
    main()
