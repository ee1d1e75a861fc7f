"""A plain JAX script with attnlab's attention as a flax module: each query must find the key that it is a noisy copy of.

pip install flax
python plugins/attnlab-torch/flax_example.py [--steps 300]
"""

from __future__ import annotations

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import attnlab


class Attention(nn.Module):
    """A mechanism of attnlab, with its learned arrays as parameters.

    The variables of this module are `{"params": {"arrays": ..}}`, nested and named as attnlab's own `params`. So an estimator's
    arrays can be put there, and what is learned here can be given to `mechanism.attend` as it is.

    Parameters
    ----------
    mechanism : attnlab mechanism
    param_dtype : dtype of the learned arrays
    """

    mechanism: Any
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, query: Any, key: Any = None, value: Any = None, mask: Any = None) -> Any:
        """The contexts (..., q, v) of queries (..., q, d), keys (..., k, d) and values (..., k, v).

        No key means the queries, and no value the keys. `mask` is bool (..., q, k), True = may attend.
        """
        query = jnp.asarray(query)
        key = query if key is None else jnp.asarray(key)
        value = key if value is None else jnp.asarray(value)
        mask = None if mask is None else jnp.asarray(mask)
        arrays = self.param("arrays", self.start, query.shape[-1], key.shape[-1], value.shape[-1])
        arrays, bound = jax.tree.map(jnp.asarray, arrays), self.mechanism.bind()
        return bound.attend(arrays, query, key, value, bound.context(query, key, value, mask))

    def start(self, key: Any, *sizes: int) -> Any:
        """The arrays where they start, drawn by NumPy from a seed that JAX draws, inside `jit` as well."""

        def drawn(seed: Any) -> Any:
            arrays = self.mechanism.init(np.random.default_rng(int(seed)), *sizes)
            return jax.tree.map(lambda a: np.asarray(a, dtype=self.param_dtype), arrays)

        shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), drawn(0))
        return jax.pure_callback(drawn, shapes, jax.random.bits(key), vmap_method="sequential")


class Finder(nn.Module):
    """Two learned maps, and a mechanism between them."""

    mechanism: Any

    @nn.compact
    def __call__(self, Q: Any, K: Any, V: Any) -> Any:
        d = Q.shape[-1]
        return Attention(self.mechanism, name="attend")(nn.Dense(d)(Q), nn.Dense(d)(K), V)


def examples(key: Any, n: int) -> tuple[Any, ...]:
    """Queries (n, 4, 16), keys (n, 12, 16), values (n, 12, 8) that are one-hot, and the classes asked for (n, 4)."""
    of_keys, of_labels, of_places, of_noise = jax.random.split(key, 4)
    K = jax.random.normal(of_keys, (n, 12, 16))
    label = jax.random.randint(of_labels, (n, 12), 0, 8)
    place = jax.random.randint(of_places, (n, 4), 0, 12)
    Q = jnp.take_along_axis(K, place[..., None], axis=1) + 0.3 * jax.random.normal(of_noise, (n, 4, 16))
    return Q, K, jax.nn.one_hot(label, 8), jnp.take_along_axis(label, place, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    mechanism = attnlab.Mechanism(similarity="additive", normaliser="entmax")
    model, adam = Finder(mechanism), optax.adam(0.01)
    start, key = jax.random.split(jax.random.key(0))
    variables = model.init(start, *examples(key, 2)[:3])
    state = adam.init(variables)

    @jax.jit
    def step(variables: Any, state: Any, key: Any) -> tuple[Any, ...]:
        Q, K, V, label = examples(key, 64)

        def loss(variables: Any) -> tuple[Any, Any]:
            scores = model.apply(variables, Q, K, V)
            return ((scores - jax.nn.one_hot(label, 8)) ** 2).mean(), (scores.argmax(-1) == label).mean()

        (value, right), gradient = jax.value_and_grad(loss, has_aux=True)(variables)
        change, state = adam.update(gradient, state)
        return optax.apply_updates(variables, change), state, value, right

    for i in range(args.steps + 1):
        variables, state, loss, right = step(variables, state, jax.random.fold_in(key, i))
        if i % 100 == 0:
            print(f"step {i}: loss {loss:.4f}, right {right:.2f}")

    learned = jax.tree.map(np.asarray, variables["params"]["attend"]["arrays"])  # attnlab's own `params`
    print("learned:", ", ".join(f"{part}.{name} {a.shape}" for part, own in learned.items() for name, a in own.items()))


if __name__ == "__main__":
    main()
