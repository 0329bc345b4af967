"""What validation says, in a spec's words and at a spec's places."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import BaseModel, Field, ValidationError

from tests.spec.spec_texts import LEAST, mistakes
from wpack.spec.mistakes import problems_of


class Even(BaseModel):
    """A technique's option may have a rule that no other key of a spec has."""

    number: Annotated[int, Field(multiple_of=2)]


def test_rules_without_words_of_their_own() -> None:
    """They are told in the validator's."""
    with pytest.raises(ValidationError) as error:
        Even(number=3)
    (problem,) = problems_of(error.value, None, "--set", lambda path: ())

    assert "--set: number: Input should be a multiple of 2" == str(problem)


def test_nothing_is_said_of_what_is_refused_as_a_whole() -> None:
    """The values inside a mapping with a tag may be right without it."""
    assert ["s:3:11: finetune: tags ('!x') are not supported"] == mistakes(
        LEAST + "finetune: !x {epochs: -1, optimizer: {lr: 0}}\n"
    )
