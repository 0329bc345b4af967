"""Names of a user's own code, and everything that can be wrong with them (Y11)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wpack import references
from wpack.cli._signals import ending
from wpack.errors import UsageError

CODE = """
import sys
from dataclasses import dataclass

from neighbour_of_the_file import NUMBER

class Outer:
    @staticmethod
    def inner(width: int = 3) -> list:
        return [width] * NUMBER

@dataclass
class Record:
    size: int

def prints() -> list:
    print("hello")
    return []

def fails() -> list:
    raise ValueError("no data here")

def exits() -> list:
    sys.exit(3)

def refuses() -> list:
    from wpack.errors import TrainingError
    raise TrainingError("not today")

constant = 7
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of user code; what importing it leaves behind is cleared away."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    (tmp_path / "code.py").write_text(CODE)
    (tmp_path / "neighbour_of_the_file.py").write_text("NUMBER = 2")
    (tmp_path / "broken.py").write_text("import not_there_at_all")
    (tmp_path / "raising.py").write_text("1 / 0")
    (tmp_path / "exiting.py").write_text("raise SystemExit('bye')")
    (tmp_path / "wrong.py").write_text("def f(:")
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def make(reference: str, folder: Path, **options: Any) -> Any:
    """Resolve and call, expecting a list."""
    found = references.resolve(reference, folder)
    return references.call(reference, found, options, list)


def message(reference: str, folder: Path, **options: Any) -> str:
    """What :func:`make` refuses with."""
    with pytest.raises(UsageError) as caught:
        make(reference, folder, **options)
    assert 2 == caught.value.exit_code
    return str(caught.value)


def test_file(folder: Path) -> None:
    """A file is found from the folder, imports its neighbours, and takes options."""
    assert [5, 5] == make("./code.py:Outer.inner", folder, width=5)
    assert 7 == references.resolve(f"{folder}/code.py:constant")


def test_file_is_imported_once(folder: Path) -> None:
    """Two references into one file meet the same classes."""
    first = references.resolve("./code.py:Record", folder)

    assert first is references.resolve("code.py:Record", folder)
    assert first(size=1) == first(1)


def test_module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module is looked for in the current folder too, at the end of the path."""
    monkeypatch.chdir(folder)

    assert 2 == references.resolve("neighbour_of_the_file:NUMBER")
    assert str(folder) == sys.path[-1]
    assert references.resolve("json:dumps") is __import__("json").dumps


def test_y11_prints_go_to_stderr(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """stdout carries results only."""
    made = make("./code.py:prints", folder)

    assert [] == made
    assert ("", "hello\n") == capsys.readouterr()


IMPORTING = {
    "nothing": "nothing: is no module:attribute and no ./file.py:attribute",
    ":x": ":x: is no module:attribute and no ./file.py:attribute",
    "code:": "code:: is no module:attribute and no ./file.py:attribute",
    "no_such_package.task:x": (
        "no_such_package.task:x: there is no module 'no_such_package'. Modules are"
        " looked for where Python is installed and in the current folder"
    ),
    "json.no_such:x": (
        "json.no_such:x: there is no module 'json.no_such'. Modules are looked for"
        " where Python is installed and in the current folder"
    ),
    "json:dump_s": "json:dump_s: there is no 'dump_s' in it. Did you mean 'dumps'?",
    "json:zzz": "json:zzz: there is no 'zzz' in it",
    "./broken.py:x": (
        "./broken.py:x: importing it raised ModuleNotFoundError: No module named"
        " 'not_there_at_all'. --debug shows the traceback"
    ),
    "./raising.py:x": (
        "./raising.py:x: importing it raised ZeroDivisionError: division by zero."
        " --debug shows the traceback"
    ),
    "./exiting.py:x": (
        "./exiting.py:x: importing it called sys.exit('bye')."
        " --debug shows the traceback"
    ),
}


@pytest.mark.parametrize("reference", IMPORTING)
def test_y11_import(reference: str, folder: Path) -> None:
    """Whatever is wrong with a name or its import is told in one line."""
    assert IMPORTING[reference] == message(reference, folder)


def test_a_signal_in_the_middle(folder: Path) -> None:
    """SIGTERM that comes while code is imported ends the process, and is not taken for
    what the code did."""
    sent = "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n"
    (folder / "slow.py").write_text(sent)
    with ending(), pytest.raises(SystemExit) as left:
        make("./slow.py:x", folder)

    assert 143 == left.value.code


def test_y11_missing_file(folder: Path) -> None:
    """A file that is not there is told with where it was looked for."""
    expected = f"./no.py:x: there is no file {folder.resolve() / 'no.py'}"

    assert expected == message("./no.py:x", folder)


def test_y11_syntax_error(folder: Path) -> None:
    """A file that is no Python is told with the place in it."""
    found = message("./wrong.py:f", folder)

    assert found.startswith("./wrong.py:f: importing it raised SyntaxError: ")
    assert "(wrong.py, line 1)" in found


def test_a_failed_import_is_tried_again(folder: Path) -> None:
    """A file that could not be imported leaves nothing half made behind."""
    message("./raising.py:x", folder)
    (folder / "raising.py").write_text("x = [1]")

    assert [1] == references.resolve("./raising.py:x", folder)


CALLING = {
    "constant": "is an int, not a function or class that makes a builtins list",
    "Record": ("missing a required argument: 'size'. Its options: size"),
    "fails": (
        "calling it raised ValueError: no data here. --debug shows the traceback"
    ),
    "exits": "calling it called sys.exit(3). --debug shows the traceback",
}


@pytest.mark.parametrize("name", CALLING)
def test_y11_call(name: str, folder: Path) -> None:
    """Whatever a factory does is told in one line."""
    reference = f"./code.py:{name}"

    assert f"{reference}: {CALLING[name]}" == message(reference, folder)


def test_y11_cause_is_kept(folder: Path) -> None:
    """The user's own traceback is there for those who ask for it."""
    with pytest.raises(UsageError) as caught:
        make("./code.py:fails", folder)

    assert isinstance(caught.value.__cause__, ValueError)


def test_y11_wrong_result(folder: Path) -> None:
    """A factory that makes something else is told what it made."""
    assert "./code.py:Record: gave a Record, not a builtins list" == message(
        "./code.py:Record", folder, size=1
    )


def test_y11_unknown_option(folder: Path) -> None:
    """An option that the factory does not take is told with those it takes."""
    assert (
        "./code.py:Outer.inner: got an unexpected keyword argument 'depth'."
        " Its options: width"
    ) == message("./code.py:Outer.inner", folder, depth=1)
    assert (
        "./code.py:fails: got an unexpected keyword argument 'depth'. Its options: none"
    ) == message("./code.py:fails", folder, depth=1)


def test_own_errors_pass(folder: Path) -> None:
    """An error that a factory words itself is not worded again."""
    with pytest.raises(Exception, match=r"^not today$"):
        make("./code.py:refuses", folder)


def test_factory_without_a_signature(folder: Path) -> None:
    """A function written in C is simply called."""
    reference = "builtins:dict"
    made = references.call(reference, dict, {"a": 1}, dict)

    assert {"a": 1} == made
