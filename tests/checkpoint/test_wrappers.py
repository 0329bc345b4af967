"""State dicts are found inside what training scripts wrap around them (C11)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wpack.checkpoint.wrappers import KNOWN, RECIPE, StateDict, common_prefix, find
from wpack.errors import CheckpointError, UsageError

ONE, TWO, THREE = np.ones(1), np.ones(2), np.ones(3)


def found(tree: Any, key: str | None = None) -> StateDict:
    """What is found in a loaded file whose tensors are numpy arrays."""
    return find(tree, key, "x.pt", lambda value: isinstance(value, np.ndarray))


def test_a_plain_state_dict_is_taken_as_it_is() -> None:
    """Nothing is unwrapped and nothing is said."""
    expected = StateDict({"w": ONE, "b": TWO}, (), ())

    assert expected == found({"w": ONE, "b": TWO})


@pytest.mark.parametrize("name", KNOWN)
def test_c11_a_known_wrapper_is_unwrapped_and_reported(name: str) -> None:
    """The way in and what was left beside it are told."""
    notes = (f"took the tensors under '{name}'", "left out 'epoch' (int)")

    assert StateDict({"w": ONE}, (name,), notes) == found(
        {name: {"w": ONE}, "epoch": 3}
    )


def test_c11_a_known_wrapper_wins_over_optimisers_and_scalars() -> None:
    """Tensors elsewhere in the file do not make it ambiguous."""
    tree = {
        "model": {"w": ONE},
        "optimizer": {"state": {0: {"exp_avg": TWO}}, "param_groups": []},
        "scaler": {"scale": TWO},
        "best_accuracy": THREE,
    }
    result = found(tree)

    assert {"w": ONE} == result.tensors
    assert (
        "left out 'optimizer' (dict), 'scaler' (dict), 'best_accuracy' (ndarray)"
    ) == result.notes[1]


def test_c11_nested_wrappers_are_followed() -> None:
    """Each level's rest is reported."""
    result = found({"module": {"state_dict": {"w": ONE}, "args": []}, "step": 1})

    assert ("module", "state_dict") == result.keys
    assert (
        "took the tensors under 'module.state_dict'",
        "left out 'step' (int), 'args' (list)",
    ) == result.notes


def test_c11_the_only_candidate_needs_no_known_name() -> None:
    """A wrapper of any name is unwrapped when there is no other."""
    assert ("generator",) == found({"generator": {"w": ONE}, "epoch": 1}).keys


@pytest.mark.parametrize(
    "tree",
    [
        {"model": {"w": ONE}, "model_ema": {"w": TWO}},
        {"model": {"w": ONE}, "model_ema": {"w": TWO}, "x": THREE, "other": {"w": ONE}},
    ],
)
def test_c11_several_models_are_not_chosen_from(tree: Any) -> None:
    """Which one is meant is the user's to say."""
    with pytest.raises(UsageError) as caught:
        found(tree)

    assert (
        "x.pt: holds several models: 'model', 'model_ema'."
        " Choose one, as in --key model"
    ) == str(caught.value)


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        ("model_ema", ("model_ema",)),
        ("a.b.c", ("a.b", "c")),
        ("model", ("model", "state_dict")),
    ],
)
def test_c11_key_chooses(key: str, keys: tuple[str, ...]) -> None:
    """A key is a dotted path, its steps may have dots, and the search goes on."""
    tree = {
        "model": {"state_dict": {"w": ONE}},
        "model_ema": {"w": TWO, "state_dict": {"w": ONE}},
        "a.b": {"c": {"w": THREE}},
    }

    assert keys == found(tree, key).keys


@pytest.mark.parametrize("key", ["modle", "model.w", "epoch", "model.x"])
def test_c11_a_key_that_leads_nowhere_is_refused(key: str) -> None:
    """The message lists where it may lead."""
    with pytest.raises(UsageError) as caught:
        found({"model": {"w": ONE}, "ema": {"w": TWO}, "epoch": 1}, key)

    assert (
        f"x.pt: has no tensors under --key {key}. It may be one of: 'model', 'ema'"
    ) == str(caught.value)


def test_c11_a_key_into_a_plain_state_dict_is_refused() -> None:
    """There is nothing to choose from."""
    with pytest.raises(UsageError) as caught:
        found({"w": ONE}, "model")

    assert ("x.pt: has no tensors under --key model. Leave --key out") == str(
        caught.value
    )


@pytest.mark.parametrize(
    ("tree", "what"),
    [
        ([ONE], "holds a list, not a dict of tensors"),
        (ONE, "holds a ndarray, not a dict of tensors"),
        (7, "holds an int, not a dict of tensors"),
        ({}, "holds no tensors"),
        ({"epoch": 1}, "holds no tensors"),
        ({3: ONE}, "names a tensor 3; a name must be a string, not an int"),
        (
            {"w": ONE, b"x": TWO},
            "names a tensor b'x'; a name must be a string, not a bytes",
        ),
        ({"": ONE}, "a tensor's name is empty"),
        ({"a\nb": ONE}, r"the tensor name 'a\nb' holds a control character"),
    ],
)
def test_c11_what_is_no_state_dict_is_refused(tree: Any, what: str) -> None:
    """The message names what came, and how to save it better."""
    with pytest.raises(CheckpointError) as caught:
        found(tree)

    assert f"x.pt: {what}. {RECIPE}" == str(caught.value)


def test_c11_entries_that_are_no_tensors_are_left_out_and_listed() -> None:
    """Five by name, the others by their number; any key can be shown."""
    tree = {"w": ONE, 3: None, "\x1b[0m": 1, "a": 1.5, "b": "x", "c": [], "d": 1}

    assert (
        r"left out 3 (NoneType), '\x1b[0m' (int), 'a' (float), 'b' (str), 'c' (list)"
        " and 1 more",
    ) == found(tree).notes


def test_c11_keys_that_hold_others_are_not_written_out() -> None:
    """A tensor's elements would take lines."""
    tree = {"w": ONE, (1, "a"): 2, frozenset("b"): 3, b"\x1b": 4}

    assert (r"left out a tuple (int), a frozenset (int), b'\x1b' (int)",) == found(
        tree
    ).notes


def test_a_dictionary_that_holds_itself_ends() -> None:
    """Pickles can make circles; the search has a bottom."""
    circle: dict[str, Any] = {"x": ONE}
    circle["model"] = circle

    assert {"x": ONE} == found(circle).tensors


def test_the_same_dictionaries_named_over_and_over_cost_nothing() -> None:
    """A small file cannot make the search exponential."""
    tree: dict[str, Any] = {}
    for _ in range(4):
        tree = {str(i): tree for i in range(2000)}

    with pytest.raises(CheckpointError, match="holds no tensors"):
        found(tree)


@given(
    st.lists(st.text("ab.", min_size=1), min_size=1, unique=True),
    st.lists(st.sampled_from(["module.", "_orig_mod."])),
)
def test_c11_common_prefix_is_what_was_put_before_every_name(
    names: list[str], prefixes: list[str]
) -> None:
    """Whatever wrappers a model went through, their prefixes are found, in order."""
    prefix = "".join(prefixes)

    assert prefix == common_prefix([prefix + name for name in names])


@pytest.mark.parametrize(
    "names", [[], ["module.a", "b"], ["module."], ["module.a", "module."]]
)
def test_c11_a_prefix_that_some_name_lacks_stays(names: list[str]) -> None:
    """A prefix is only stripped where it says nothing and leaves a name."""
    assert "" == common_prefix(names)
