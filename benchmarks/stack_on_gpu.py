"""A stack of self-attention layers on a GPU: are all parts right there, and how fast is a step of training? In under five minutes.

    python benchmarks/stack_on_gpu.py [--device cuda] [--layers 4] [--width 256] [--heads 4] [--length 1024] [--batch 32] [--mlp 4]
        [--dtype bfloat16] [--repeats 7] [--steps 5] [--parts all] [--no-compile]

First each part of attnlab is computed in float64 on the device, with PyTorch's gradients, and compared with NumPy's values and
autograd's gradients: the greatest difference of any, which must be at most 1e-9, and which parts were left out and why. Then a step of
training of `AttentionStack` with `library: torch` and of `torch.nn.TransformerEncoder` (norms first, gelu, causal) of the same sizes run by
turns on the same batches: the loss, its gradient, clipping and Adam. attnlab's steps run as they are and compiled, PyTorch's encoder as it
is and through `torch.compile`. Medians are printed, and their ratios, as they are and compiled: above 1 attnlab is the faster. What it took
to compile is named and not counted. The whole takes less than five minutes; `--parts none` and `--no-compile` leave out a half.
Where there is no GPU, `--device cpu` with small sizes tries the script.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

import attnlab
from attnlab.models.training import leaves, rebuild

TOKENS = 64
PARTS = ("similarity", "normaliser", "aggregator", "position", "modifier")
MOST = 1e-9


# -- are all parts right? -----------------------------------------------------------------------------------------------
def difference(kind: str, name: str, device: str) -> float:
    """The greatest difference of values and gradients of a mechanism with this part, by the scale of each array."""
    mechanism = attnlab.Mechanism(**{kind: name})
    rng = np.random.default_rng(0)
    Q, K, V = rng.normal(size=(2, 5, 8)), rng.normal(size=(2, 5, 8)), rng.normal(size=(2, 5, 8))
    mask = np.tri(5, dtype=bool)
    params = mechanism.init(rng, 8, 8, 8)
    here = mechanism.bind("reference")
    Y, back = here.pull(params, Q, K, V, here.context(Q, K, V, mask), frozenset({"Q", "K", "V", "params"}))
    R = rng.normal(size=Y.shape)
    expected = back(R)

    def there(array: Any) -> torch.Tensor:
        return torch.tensor(np.asarray(array), device=device)

    tensors = [there(a).requires_grad_() for a in (Q, K, V)]
    learned = [there(a).requires_grad_() for _, a in leaves(params)]
    bound = mechanism.bind()
    context = bound.context(*tensors, there(mask))
    found = bound.attend(rebuild(params, learned), *tensors, context)
    (found * there(R)).sum().backward()
    pairs = [(found.detach(), Y)]
    wanted = [expected.get(n, np.zeros_like(a)) for n, a in zip("QKV", (Q, K, V), strict=True)]
    wanted += [g for _, g in leaves(expected.get("params", {}))]
    for tensor, gradient in zip([*tensors, *learned], wanted, strict=True):
        pairs.append((torch.zeros_like(tensor) if tensor.grad is None else tensor.grad, gradient))
    return max(
        float(np.abs(one.cpu().numpy() - other).max() / max(1.0, np.abs(other).max()))
        for one, other in pairs
        if other.size
    )


def compare_parts(device: str, only: str) -> bool:
    """Print what differs; whether nothing does."""
    worst, right, left_out = 0.0, 0, []
    wrong = []
    for kind in PARTS:
        for name in attnlab.names(kind):
            if only not in ("all", name):
                continue
            try:
                apart = difference(kind, name, device)
            except (
                Exception
            ) as error:  # a part that cannot stand alone in a mechanism, or in self-attention; it is named
                left_out.append(f"{kind} {name}: {type(error).__name__}: {str(error).splitlines()[0][:90]}")
                continue
            worst, right = max(worst, apart), right + (apart <= MOST)
            if not apart <= MOST:
                wrong.append(f"{kind} {name}: {apart:.1e}")
    print(f"{right} parts agree with autograd in float64 on {device}, the furthest by {worst:.1e}; {len(wrong)} do not")
    for one in wrong:
        print(f"  differs: {one}")
    for one in left_out:
        print(f"  left out: {one}")
    return not wrong


# -- how fast is a step? ------------------------------------------------------------------------------------------------
class Peer(nn.Module):
    """PyTorch's own encoder, with embeddings and a readout."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, args.width)
        layer = nn.TransformerEncoderLayer(
            args.width, args.heads, args.mlp * args.width, 0.0, nn.functional.gelu, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, args.layers, nn.LayerNorm(args.width), enable_nested_tensor=False)
        self.readout = nn.Linear(args.width, TOKENS, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1], device=ids.device)
        out: torch.Tensor = self.readout(self.layers(self.embedding(ids), mask=mask, is_causal=True))
        return out


def sequences(args: argparse.Namespace) -> np.ndarray[Any, Any]:
    ids = np.random.default_rng(0).integers(TOKENS, size=(4 * args.batch, args.length))
    ids[0, 0] = TOKENS - 1
    return ids


def attnlab_steps(args: argparse.Namespace, compile: bool) -> Callable[[], float]:
    """Steps of attnlab's stack; each call gives the last loss."""
    settings = {"hidden_dim": args.width, "heads": args.heads, "mlp": args.mlp, "norm": "layer", "dtype": args.dtype}
    ids = sequences(args)
    stack = attnlab.AttentionStack(
        {"similarity": "scaled_dot"},
        args.layers,
        steps=0,
        library="torch",
        device=args.device,
        random_state=0,
        compile=compile,
        **settings,
    ).fit(ids)
    data = attnlab.AlignmentData.of_sequences(ids)
    reader, network, library = stack._reader, stack._network, stack._reader.library
    places, labels = reader.read(data, training=True), reader.labels(data)
    tensors = [library.tensor(a).requires_grad_() for _, a in leaves(stack.params_)]
    tree = rebuild(stack.params_, tensors)
    rng = np.random.default_rng(1)

    def loss(now: Any, rows: Any) -> Any:
        return network.loss(now, reader.pick(places, rows, labels))

    step, gradient = library.stepping(loss, tree, tensors, 1.0)  # once, so that what is compiled is compiled once

    def steps() -> float:
        last = [step(rng.choice(len(ids), args.batch, replace=False), 0.001) for _ in range(args.steps)][-1]
        if compile and gradient.compiled is None and args.steps > 1:
            raise RuntimeError("the steps were not compiled; a warning has said why")
        return last

    return steps


def peer_steps(args: argparse.Namespace, compile: bool) -> Callable[[], float]:
    """Steps of PyTorch's encoder; each call gives the last loss."""
    torch.manual_seed(0)
    peer = Peer(args).to(args.device, torch.float64 if args.dtype == "float64" else torch.float32)
    adam = torch.optim.Adam(peer.parameters(), lr=0.001)
    ids, rng = torch.tensor(sequences(args), device=args.device), np.random.default_rng(1)
    forward = torch.compile(peer, dynamic=False) if compile else peer

    def steps() -> float:
        for _ in range(args.steps):
            batch = ids[torch.tensor(rng.choice(len(ids), args.batch, replace=False), device=args.device)]
            with torch.autocast(torch.device(args.device).type, torch.bfloat16, enabled=args.dtype == "bfloat16"):
                scores = forward(batch)[:, :-1].reshape(-1, TOKENS)
                loss = nn.functional.cross_entropy(scores, batch[:, 1:].reshape(-1))
            adam.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
            adam.step()
        return float(loss.detach())

    return steps


def compare_speed(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    both = {"attnlab": attnlab_steps(args, False), "PyTorch": peer_steps(args, False)}
    if not args.no_compile:
        both |= {"attnlab compiled": attnlab_steps(args, True), "PyTorch compiled": peer_steps(args, True)}
    for name, steps in both.items():
        began = time.perf_counter()
        loss = steps()
        print(f"{name}: loss {loss:.4f} after {args.steps} steps, {time.perf_counter() - began:.1f} s")
    seconds: dict[str, list[float]] = {name: [] for name in both}
    for _ in range(args.repeats):
        for name, steps in both.items():
            if args.device.startswith("cuda"):
                torch.cuda.synchronize()
            began = time.perf_counter()
            steps()  # its last loss is read, so that all is done
            if args.device.startswith("cuda"):
                torch.cuda.synchronize()
            seconds[name].append((time.perf_counter() - began) / args.steps)
    ms = {name: 1000 * statistics.median(all_) for name, all_ in seconds.items()}
    what = torch.cuda.get_device_name() if args.device.startswith("cuda") else "a processor"
    print(
        f"{args.layers} layers, width {args.width}, length {args.length}, batch {args.batch}, {args.dtype}, on {what}, PyTorch {torch.__version__}: "
        + ", ".join(f"{name} {one:.2f} ms a step" for name, one in ms.items())
        + f": ratio {ms['PyTorch'] / ms['attnlab']:.2f}"
        + ("" if args.no_compile else f", compiled {ms['PyTorch compiled'] / ms['attnlab compiled']:.2f}")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (
        ("layers", 4),
        ("width", 256),
        ("heads", 4),
        ("length", 1024),
        ("batch", 32),
        ("mlp", 4),
        ("repeats", 7),
        ("steps", 5),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "float64", "bfloat16"])
    parser.add_argument("--parts", default="all", help="all, none, or the name of one part")
    parser.add_argument("--no-compile", action="store_true", help="leave out compiled steps")
    args = parser.parse_args()
    warnings.simplefilter("ignore", attnlab.NothingToLearn)
    agree = args.parts == "none" or compare_parts(args.device, args.parts)
    compare_speed(args)
    if not agree:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
