"""Names of a user's own code: ``module:attribute`` and ``./file.py:attribute``.

Only what the user writes on the command line or in a spec is imported; nothing inside
a ``.wpool`` or a checkpoint ever is.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import UsageError, WpackError


def resolve(reference: str, folder: Path | str = ".") -> Any:
    """Import what a reference names.

    The current folder (for a module) or the file's own folder (for a file) is added
    to the end of ``sys.path``, and stays there: such code may import its neighbours
    later.

    Args:
        reference: ``package.module:attribute`` or ``./file.py:attribute``.
        folder: Where relative files start.

    Raises:
        UsageError: It is not such a name, or there is no such module, file or
            attribute, or importing it failed (the failure is the ``__cause__``).
    """
    module_name, colon, attribute = reference.rpartition(":")
    if not colon or not module_name or not attribute:
        raise UsageError(
            "is no module:attribute and no ./file.py:attribute", where=reference
        )
    with _user_code(reference, "importing it"):
        if module_name.endswith(".py"):
            module = _import_file(Path(folder, module_name), reference)
        else:
            module = _import_module(module_name, reference)
    found: Any = module
    for name in attribute.split("."):
        found = _attribute(found, name, reference)
    return found


def call(reference: str, found: Any, options: Mapping[str, Any], expected: type) -> Any:
    """Call a user's factory and check what it gives; its prints go to stderr.

    Args:
        reference: The name to blame in errors.
        found: The factory, from :func:`resolve`.
        options: Keyword arguments.
        expected: The class that the result must belong to.

    Raises:
        UsageError: It cannot be called, does not take these options, fails, exits, or
            gives something else.
    """
    if not callable(found):
        raise UsageError(
            f"is {_a(found)}, not a function or class that makes {_noun(expected)}",
            where=reference,
        )
    _check_options(reference, found, options)
    with _user_code(reference, "calling it"):
        made = found(**options)
    if not isinstance(made, expected):
        raise UsageError(f"gave {_a(made)}, not {_noun(expected)}", where=reference)
    return made


def _check_options(reference: str, found: Any, options: Mapping[str, Any]) -> None:
    """Refuse options that a factory does not take, before its body runs."""
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return  # written in C, it does not tell: the call itself will
    try:
        signature.bind(**options)
    except TypeError as error:
        takes = ", ".join(signature.parameters) or "none"
        raise UsageError(
            f"{error}", where=reference, hint=f"Its options: {takes}"
        ) from None


@contextlib.contextmanager
def _user_code(reference: str, doing: str) -> Iterator[None]:
    """Turn whatever a user's code does into a result or a :class:`UsageError`."""
    hint = "--debug shows the traceback"
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except WpackError:
        raise
    except SystemExit as error:
        if type(error) is not SystemExit:
            raise  # a signal handler's, which came in the middle
        raise UsageError(
            f"{doing} called sys.exit({error.code!r})", where=reference, hint=hint
        ) from error
    except Exception as error:
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        raise UsageError(
            f"{doing} raised {said}", where=reference, hint=hint
        ) from error


def _import_module(name: str, reference: str) -> ModuleType:
    _add_to_path(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(f"{missing}."):
            raise  # it is there, and imports something that is not
        raise UsageError(
            f"there is no module {missing!r}",
            where=reference,
            hint="Modules are looked for where Python is installed and in the current"
            " folder",
        ) from None


def _import_file(path: Path, reference: str) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise UsageError(f"there is no file {path}", where=reference)
    # Registered, so that dataclasses and pickle find it; by path, so that two tasks
    # that are both called task.py do not meet.
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    name = f"{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    _add_to_path(path.parent)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} cannot be imported", where=reference)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _add_to_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _attribute(owner: Any, name: str, reference: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        known = [n for n in dir(owner) if not n.startswith("_")]
        close = difflib.get_close_matches(name, known, 1)
        raise UsageError(
            f"there is no {name!r} in it",
            where=reference,
            hint=f"Did you mean {close[0]!r}?" if close else "",
        ) from None


def _noun(kind: type) -> str:
    """``a torch Module``-like words for a class in a message."""
    return f"a {kind.__module__.partition('.')[0]} {kind.__name__}"


def _a(value: Any) -> str:
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"
