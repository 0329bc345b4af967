"""Fuzzing: inputs that nobody thought of, bred by what wpack's branches make of them.

``make fuzz`` runs every target for a minute, ``make fuzz SECONDS=600`` for ten.  A
target is one file: how an input is read, what must be true where it is accepted, and
how to change an input so that it is still worth reading.  Only :mod:`fuzz.engine` needs
atheris; everything else runs on Python alone, and ``tests/test_fuzz.py`` runs it.
"""

from __future__ import annotations

#: The targets: files of this folder that define a ``TARGET``.
NAMES = ("container", "slice_table", "index", "spec", "torch_listing")
