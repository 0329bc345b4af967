"""Values of options: finite numbers and sizes."""

from __future__ import annotations

import math
from typing import Any

import click


class Ratio(click.ParamType):
    """A finite number from 1.  click's own floats let ``nan`` through."""

    name = "number"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """``value`` as a float."""
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number.", param, ctx)
        if not (math.isfinite(number) and number >= 1):
            self.fail(f"{value!r} is not a finite number from 1.", param, ctx)
        return number


class Size(click.ParamType):
    """Bytes, as a spec writes them: ``4MiB``, ``1.5GB``, ``1_000_000``."""

    name = "size"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        """``value`` in bytes."""
        from pydantic import TypeAdapter, ValidationError

        from ..spec.quantities import Bytes

        try:
            nbytes: int = TypeAdapter(Bytes).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            self.fail(f"{reason}.", param, ctx)
        return nbytes
