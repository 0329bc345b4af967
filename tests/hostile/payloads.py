"""Pickles that would run something: C01 and C02."""

from __future__ import annotations

import argparse
import os
import pathlib
import pickle
from collections.abc import Callable
from pathlib import Path

import torch

from tests.hostile.case import Case
from tests.hostile.pickles import RECIPE, TENSOR, pickle_case, saved, saved_case

_NOT_OURS = (
    f"is a Python pickle that torch.save did not write; pickles are not run. {RECIPE}"
)
_CALL = f"needs the Python object posix.mkdir, which is not run. {RECIPE}"


class Payload:
    """Pickles as a call that leaves a folder where the command runs."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, ("ran",)


def c01_call_in_a_zip(folder: Path) -> Case:
    return saved_case(folder, Payload(), _CALL)


def c01_call_beside_tensors(folder: Path) -> Case:
    return saved_case(folder, {"weight": TENSOR, "x": Payload()}, _CALL)


def c01_call_in_an_old_file(folder: Path) -> Case:
    return saved_case(folder, Payload(), _CALL, _use_new_zipfile_serialization=False)


def c01_call_in_a_plain_pickle(folder: Path) -> Case:
    return pickle_case(folder, pickle.dumps(Payload(), 2), _NOT_OURS)


def c01_call_in_a_pickle_of_text(folder: Path) -> Case:
    return pickle_case(folder, b"cposix\nmkdir\n(S'ran'\ntR.", _NOT_OURS)


def c01_call_in_a_file_named_safetensors(folder: Path) -> Case:
    says = (
        "is a zip archive, as torch.save writes it, with the suffix of another format."
        " Rename it: x.pt"
    )
    return pickle_case(folder, saved(Payload()), says, "x.safetensors")


def c01_call_in_a_newer_pickle(folder: Path) -> Case:
    says = (
        "its pickle has the instruction 0x95, which torch.save does not write."
        f" {RECIPE}"
    )
    return saved_case(folder, {"x": Payload()}, says, pickle_protocol=4)


def c02_whole_module(folder: Path) -> Case:
    name = "torch.nn.modules.linear.Linear"
    says = f"needs the Python object {name}, which is not run. {RECIPE}"
    return saved_case(folder, torch.nn.Linear(4, 6), says)


def c02_namespace(folder: Path) -> Case:
    tree = {"model": {"weight": TENSOR}, "args": argparse.Namespace(lr=1)}
    says = f"needs the Python object argparse.Namespace, which is not run. {RECIPE}"
    return saved_case(folder, tree, says)


def c02_path(folder: Path) -> Case:
    tree = {"weight": TENSOR, "at": pathlib.PurePosixPath("x")}
    module = pathlib.PurePosixPath.__module__
    name = f"{module}.PurePosixPath"
    says = f"needs the Python object {name}, which is not run. {RECIPE}"
    return saved_case(folder, tree, says)
