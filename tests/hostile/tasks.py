"""Tasks that cannot be had: Y11.  They are the user's own code, which may do anything
but surprise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.hostile.case import Case, written


def _task(folder: Path, reference: str, message: str, text: str = "") -> Case:
    """A task that cannot be had; ``text`` is its file, ``bad.py``."""
    written(folder / "bad.py", text)
    return Case(reference, f"{reference}: {message}", ("task",), status=2)


def _failing(folder: Path, text: str, what: str) -> Case:
    """A task's file that cannot be imported."""
    says = f"importing it {what}. --debug shows the traceback"
    return _task(folder, "./bad.py:task", says, text)


def y11_no_such_file(folder: Path) -> Case:
    return _task(folder, "./gone.py:task", f"there is no file {folder / 'gone.py'}")


def y11_no_such_module(folder: Path) -> Case:
    says = (
        "there is no module 'wpack_gone'. Modules are looked for where Python is"
        " installed and in the current folder"
    )
    return _task(folder, "wpack_gone:task", says)


def y11_no_such_attribute(folder: Path) -> Case:
    says = "there is no 'tusk' in it. Did you mean 'task'?"
    return _task(folder, "./bad.py:tusk", says, "task = 1")


def y11_attribute_that_is_no_task(folder: Path) -> Case:
    says = "is an int, not a function or class that makes a wpack Task"
    return _task(folder, "./bad.py:task", says, "task = 1")


def y11_syntax_error(folder: Path) -> Case:
    return _failing(
        folder, "def task(:\n", "raised SyntaxError: invalid syntax (bad.py, line 1)"
    )


def y11_raises(folder: Path) -> Case:
    return _failing(folder, r"raise KeyError('x\ny')", r"raised KeyError: 'x\ny'")


def y11_exits(folder: Path) -> Case:
    return _failing(folder, "import sys\nsys.exit(0)", "called sys.exit(0)")


def y11_never_returns_itself(folder: Path) -> Case:
    says = (
        "calling it raised RecursionError: maximum recursion depth exceeded. --debug"
        " shows the traceback"
    )
    return _task(folder, "./bad.py:task", says, "def task():\n    return task()")


def y11_no_task_of_ours(folder: Path) -> Case:
    says = (
        "task 'imagenet': is no module:attribute, no ./file.py:attribute and no task of"
        " wpack's. There are: image-classification, language-modeling"
    )
    return replace(_task(folder, "imagenet", ""), says=says)
