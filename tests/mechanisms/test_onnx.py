"""The cases of ONNX's operators Attention and GRU, and its RotaryEmbedding, where onnx is installed: without a plugin.

Heads are reshaped, shared heads repeated and caches joined here, as other software does around the operator; masks, biases, caps
and everything from scores to contexts are attnlab's.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import attnlab
from attnlab.kernels.gru import FastGru
from attnlab.models.seq2seq.recurrence import Gru

onnx = pytest.importorskip("onnx", reason="onnx is not installed")


def collected():
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own formulas
        found = [case for case in collect_testcases(None) if not case.name.endswith("_expanded")]
    return {kind: [c for c in found if c.name.startswith(kind)] for kind in ("test_attention", "test_gru")}


CASES = collected()


def given(case):
    """(attributes, inputs by place, outputs by place) of the one node."""
    (node,), ((inputs, outputs),) = case.model.graph.node, case.data_sets
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    places = [[i for i, name in enumerate(names) if name] for names in (node.input, node.output)]
    found = [dict(zip(place, arrays, strict=True)) for place, arrays in zip(places, (inputs, outputs), strict=True)]
    return attributes, *found


def agree(found, right):
    assert found.dtype == right.dtype
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if right.dtype.itemsize > 2 else {"rtol": 1e-2, "atol": 4e-3}
    np.testing.assert_allclose(found.astype(np.float64), right.astype(np.float64), **tolerance)


def in_heads(X, n):
    return X.reshape(*X.shape[:2], n, -1).transpose(0, 2, 1, 3)


# -- attention --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", CASES["test_attention"], ids=lambda c: c.name)
def test_attention(case):
    settings, arrays, outputs = given(case)
    Q, K, V = (arrays[i] for i in range(3))
    flat = Q.ndim == 3
    if flat:
        Q, K, V = (in_heads(X, settings[f"{who}_num_heads"]) for X, who in ((Q, "q"), (K, "kv"), (V, "kv")))
    past = arrays[4].shape[2] if 4 in arrays else 0
    if past:
        K, V = np.concatenate([arrays[4], K], axis=2), np.concatenate([arrays[5], V], axis=2)
    kept = K, V
    group = Q.shape[1] // K.shape[1]
    K, V = np.repeat(K, group, axis=1), np.repeat(V, group, axis=1)
    similarity = "scaled_dot"
    if "scale" in settings:
        similarity, root = "dot", np.sqrt(settings["scale"]).astype(Q.dtype)
        Q, K = Q * root, K * root
    masks, modifiers = masks_and_modifiers(settings, arrays, Q.shape[2], K.shape[2], past)
    mechanism = attnlab.Mechanism(similarity, mask=masks or None, modifier=modifiers or "none")
    Y = mechanism.attend(None, Q, K, V)
    agree(Y.transpose(0, 2, 1, 3).reshape(Y.shape[0], Y.shape[2], -1) if flat else Y, outputs[0])
    for i, X in enumerate(kept):
        if i + 1 in outputs:
            agree(X, outputs[i + 1])
    if 3 in outputs:
        mode = settings.get("qk_matmul_output_mode", 0)
        if mode == 3:
            agree(mechanism.weights(None, Q, K), outputs[3])
            return
        S = attnlab.get("similarity", similarity).score(Q, K)
        for modifier in mechanism.parts().modifiers if mode else ():
            if mode == 2 or modifier.name == "softcap":
                places = {"q_index": np.arange(Q.shape[2]), "k_index": np.arange(K.shape[2])}
                S = attnlab.call(modifier, "modify", S=S, **places)
        if mode == 2:
            for mask in masks:
                S = np.where(mask, S, S.dtype.type(-np.inf))
        agree(S, outputs[3])


def masks_and_modifiers(settings, arrays, q, k, past):
    masks, modifiers = [], []
    if cap := settings.get("softcap", 0.0):
        modifiers.append({"softcap": {"cap": cap}})
    if (M := arrays.get(3)) is not None:
        M = M if M.ndim > 1 else M[None]
        beyond = np.full((*M.shape[:-1], k - M.shape[-1]), False if M.dtype == bool else -np.inf, dtype=M.dtype)
        M = np.concatenate([M, beyond], axis=-1)
        if M.dtype == bool:
            masks.append(M)
        else:
            modifiers.append({"bias": {"array": M}})
    first = np.full((1, 1, 1, 1), past)  # the position of the first query
    if (there := arrays.get(6)) is not None:
        masks.append((np.arange(k) < there[:, None])[:, None, None, :])
        first = (there - q)[:, None, None, None]
    away = np.arange(k) - (np.arange(q)[:, None] + first)
    if settings.get("is_causal"):
        masks.append(away <= 0)
    for side, sign in (("left", -1), ("right", 1)):
        if (width := settings.get(f"{side}_window_size", -1)) >= 0:
            masks.append(sign * away <= width)
    return masks, modifiers


# -- the two others ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", CASES["test_gru"], ids=lambda c: c.name)
@pytest.mark.parametrize("kind", [Gru, FastGru])
def test_gru(case, kind):
    settings, arrays, outputs = given(case)
    X, W, R = arrays[0], arrays[1], arrays[2]
    X = X if settings.get("layout") else X.transpose(1, 0, 2)  # (n, m, d)
    h = settings["hidden_size"]
    B = arrays.get(3, np.zeros((len(W), 6 * h), dtype=X.dtype))

    def ours(a):  # gates z, r, n -> r, z, n
        return np.concatenate([np.split(a, 3)[i] for i in (1, 0, 2)]).T

    directions = {b"forward": [1], b"reverse": [-1], b"bidirectional": [1, -1]}[settings.get("direction", b"forward")]
    gru, last = kind(bool(settings.get("linear_before_reset"))), []
    for i, way in enumerate(directions):
        learned = (ours(a) for a in (W[i], R[i], B[i, : 3 * h], B[i, 3 * h :]))
        last.append(gru.run(X[:, ::way], np.zeros((len(X), h), dtype=X.dtype), None, *learned)[:, -1])
    agree(np.stack(last, axis=1 if settings.get("layout") else 0), outputs[1])


@pytest.mark.parametrize("layout", ["interleaved", "half"])
@pytest.mark.parametrize("dims", [None, 4])
def test_rotary_embedding(layout, dims):
    """The operator, given the sines and cosines of the formula, turns as `rope` does."""
    from onnx.reference import ReferenceEvaluator

    rng, n = np.random.default_rng(0), 8 if dims is None else dims
    X, places = rng.normal(size=(2, 3, 5, 8)).astype(np.float32), np.array([0, 1, 2, 7, 40])
    angle = places[:, None] * 10000.0 ** (-2 * np.arange(n // 2) / n)
    tables = [np.tile(f(angle), (2, 1, 1)).astype(np.float32) for f in (np.cos, np.sin)]
    info = [onnx.helper.make_tensor_value_info(name, 1, None) for name in ("X", "cos", "sin", "Y")]
    node = onnx.helper.make_node(
        "RotaryEmbedding",
        ["X", "cos", "sin"],
        ["Y"],
        interleaved=int(layout == "interleaved"),
        rotary_embedding_dim=0 if dims is None else dims,
    )
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "rope", info[:3], info[3:]), opset_imports=[onnx.helper.make_opsetid("", 23)]
    )
    (right,) = ReferenceEvaluator(model).run(None, dict(zip(("X", "cos", "sin"), [X, *tables], strict=True)))
    found, _ = attnlab.get("position", "rope", layout=layout, dims=dims).place(X, X, places, places)
    agree(found, right)
