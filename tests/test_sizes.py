"""Sizes that no machine has room for are sentences, never what NumPy says of them."""

from __future__ import annotations

import numpy as np
import pytest

import attnlab
from attnlab import registry, sizes
from attnlab.component import settings_of
from attnlab.errors import AttnlabError, SettingError, TooLarge
from attnlab.libraries import no_memory

pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")
PARTS = ("similarity", "normaliser", "aggregator", "position", "modifier", "mask", "mechanism")
MISTAKES = (2**70, 10**12, 2**40, -1, 0, True, 1.0, "3", None, float("nan"), 10**400)
ENDLESS = {("hopfield", "steps")}  # that many steps are no memory


def whole(cls):
    known = attnlab.settings.hints(cls)
    return [s for s in settings_of(cls) if "int" in str(known.get(s)) and "bool" not in str(known.get(s))]


def used(kind, name, settings):
    component = registry.get(kind, name, **settings)
    if kind == "task":
        return component.make(np.random.default_rng(0))
    mechanism = component if kind == "mechanism" else attnlab.Mechanism(**{kind: component})
    if mechanism.refusal():
        mechanism = attnlab.Mechanism(**{"similarity": "poly_kernel", kind: component})
    params = mechanism.init(np.random.default_rng(0), 4, 4, 3)
    return mechanism.attend(params, np.ones((5, 4)), np.ones((6, 4)), np.ones((6, 3)))


@pytest.mark.parametrize("kind", PARTS)
def test_a_size_of_a_part_works_or_is_refused_in_a_sentence(kind):
    for name in registry.names(kind):
        for setting in whole(registry.entry(kind, name).cls):
            for value in MISTAKES:
                if (name, setting) in ENDLESS and value not in (-1, 0, 2**70):
                    continue
                said = ""
                try:
                    used(kind, name, {setting: value})
                except AttnlabError as error:
                    said = str(error)
                assert not said or setting in said, (name, setting, value, said)


@pytest.mark.parametrize("name", registry.names("task"))
def test_a_size_of_a_task_that_no_machine_has_is_refused_at_once(name):
    cls = registry.entry("task", name).cls
    for setting in whole(cls):
        if "path" in settings_of(cls):
            continue
        for value in (2**70, 10**15):
            several = "Sequence" in str(attnlab.settings.hints(cls)[setting])
            with pytest.raises((SettingError, TooLarge), match=setting):
                used("task", name, {setting: [value] if several else value})


def test_too_many_examples_are_refused_after_the_first_block():
    with pytest.raises(TooLarge, match=r"task 'lookup': n_train = \d+ needs .* of memory at least, and there are"):
        attnlab.get("task", "lookup", n_train=sizes.memory() // sizes.EACH // 2).make(np.random.default_rng(0))


def test_a_model_names_its_size():
    task = attnlab.get("task", "lookup", n_train=16).make(np.random.default_rng(0))
    with pytest.raises(TooLarge, match="model 'aligner' with projection = 1000000000000000"):
        attnlab.AttentionAligner(projection=10**15, steps=1).fit(task.train)
    with pytest.raises(SettingError, match=r"projection must be .* 64 bits"):
        attnlab.AttentionAligner(projection=2**70, steps=1).fit(task.train)


def test_a_mechanism_of_others_names_its_size():
    class Wide(attnlab.MechanismComponent):
        name = "wide"

        def __init__(self, width=4):
            self.width = width

        def init(self, rng, d_query, d_key, d_value):
            return {"A": rng.normal(size=(d_query, self.width))}

    with pytest.raises(
        TooLarge, match="mechanism 'wide' with width = 1000000000000000000 needs more memory than there is"
    ):
        Wide(10**18).init(np.random.default_rng(0), 4, 4, 4)


def test_what_has_nothing_to_do_with_memory_stays_what_it_is():
    class Odd(attnlab.tasks.drawn.DrawnTask):
        name = "odd"

        def draw(self, rng, n):
            raise ValueError("my own")

    with pytest.raises(ValueError, match="my own"):
        Odd().make(np.random.default_rng(0))


def test_what_numpy_says_of_arrays_without_addresses_is_exhausted_memory():
    for impossible in (lambda: np.empty(2**70), lambda: np.empty((2**40, 2**40)), lambda: np.empty(2**60)):
        with pytest.raises((ValueError, MemoryError)) as caught:
            impossible()
        assert no_memory(caught.value), caught.value  # so that the run is `oom`
    assert no_memory(TooLarge("n"))
    assert not no_memory(ValueError("my own"))
