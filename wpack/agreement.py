"""What a run is made of, against what it was started with."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from .errors import StorageError, UsageError

#: Differences that a message shows.
SHOWN = 5


def read(path: Path) -> dict[str, Any] | None:
    """The config in a run's folder, if there is one.

    Raises:
        StorageError: The operating system refused.
        UsageError: It is damaged.
    """
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise StorageError(what, where=path) from error
    except ValueError as error:
        raise UsageError(
            f"is damaged: {error}",
            where=path,
            hint="Put it back from a copy, or start a run in another folder",
        ) from None
    return found


def check(
    started: Mapping[str, Any],
    config: Mapping[str, Any],
    folder: Path,
    bound: Collection[str],
    allow_mismatch: bool,
) -> list[str]:
    """What the user has to know before a run goes on with a config.

    Args:
        started: The config that the run in the folder was started with.
        bound: Keys, with dots between, that no mismatch is allowed in.

    Raises:
        UsageError: They differ, and may not.
    """
    found = differences(started, config)
    if not found:
        return []
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    shown = f"{'; '.join(found[:SHOWN])}{more}"
    fits = not any(text.partition(":")[0] in bound for text in found)
    if not allow_mismatch or not fits:
        way = ", or give --allow-mismatch" if fits else ": no state of it would fit"
        raise UsageError(
            f"the run was started with other settings: {shown}",
            where=folder,
            hint=f"Start a run in another folder{way}",
        )
    return [f"{folder}: settings changed: {shown}"]


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Where two JSON values differ: ``key.path: old in the run, new now``."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            found
            for key in sorted({*old, *new})
            for found in differences(
                old.get(key), new.get(key), f"{path}.{key}" if path else key
            )
        ]
    if old == new and type(old) is type(new):
        return []
    shown = [json.dumps(value) for value in (old, new)]
    short = [text if len(text) <= 40 else f"{text[:39]}…" for text in shown]
    return [f"{path}: {short[0]} in the run, {short[1]} now"]
