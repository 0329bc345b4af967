"""Hostile specs, and values that a command line cannot mean: Y01 to Y08, Y12."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from tests.hostile.case import OF_SPECS, Case, written
from wpack.spec.nodes import MAX_BYTES

BEGIN = "version: 1\npools:\n  p: {tensors: [weight], ratio: 2}\n"
_KNOWN = "(known: version, split, pools, keep, keep_codecs, finetune)"


def spec_case(folder: Path, text: str | bytes, problem: str) -> Case:
    """A spec with one mistake, told as ``s.yaml:line:column: …``."""
    file = written(folder / "s.yaml", text)
    return Case(file, f"{file}:{problem}", OF_SPECS, status=2)


def pool_spec_case(folder: Path, keys: str, problem: str) -> Case:
    """A spec whose one pool has these keys."""
    return spec_case(folder, f"version: 1\npools:\n  p: {{{keys}}}\n", problem)


def _after(folder: Path, text: str, problem: str) -> Case:
    """A sound spec, and this after it, from line 4 on."""
    return spec_case(folder, BEGIN + text, problem)


def y01_key_twice(folder: Path) -> Case:
    says = "3:36: pools.p.ratio: the key stands twice, first on line 3"
    return pool_spec_case(folder, "tensors: [weight], ratio: 2, ratio: 3", says)


def y01_key_misspelt(folder: Path) -> Case:
    says = "3:26: pools.p.raito: unknown key 'raito', did you mean 'ratio'?"
    return pool_spec_case(folder, "tensors: [weight], raito: 2, size: 9", says)


def y01_key_nobody_knows(folder: Path) -> Case:
    return _after(folder, "exec: rm\n", f"4:1: exec: unknown key 'exec' {_KNOWN}")


def y01_key_that_breaks_lines(folder: Path) -> Case:
    key = r"'\x1b[2J\u2028\n'"
    says = f"4:1: {key}: unknown key {key} {_KNOWN}"
    return _after(folder, '"\\e[2J\\L\\n": 1\n', says)


def y02_ratio_of_nan(folder: Path) -> Case:
    says = "3:33: pools.p.ratio: should be a finite number, not nan"
    return pool_spec_case(folder, "tensors: [weight], ratio: .nan", says)


def y02_ratio_of_infinity(folder: Path) -> Case:
    says = "3:33: pools.p.ratio: should be a finite number, not inf"
    return pool_spec_case(folder, "tensors: [weight], ratio: 1e999", says)


def y02_ratio_below_one(folder: Path) -> Case:
    says = "3:33: pools.p.ratio: should be 1 or more, not -1"
    return pool_spec_case(folder, "tensors: [weight], ratio: -1", says)


def y02_size_of_nothing(folder: Path) -> Case:
    says = "3:32: pools.p.size: should be 1 or more, not 0"
    return pool_spec_case(folder, "tensors: [weight], size: 0", says)


def y02_no_epochs(folder: Path) -> Case:
    says = "4:20: finetune.epochs: should be 1 or more, not 0"
    return _after(folder, "finetune: {epochs: 0}\n", says)


def y02_learning_rate_of_nan(folder: Path) -> Case:
    says = "4:28: finetune.optimizer.lr: should be a finite number, not nan"
    return _after(folder, "finetune: {optimizer: {lr: .nan}}\n", says)


def y02_ratio_of_the_command_line(folder: Path) -> Case:
    """Not the spec's, but a value all the same."""
    says = (
        "Invalid value for '--ratio': 'nan' is not a finite number from 1. See 'wpack"
        " compress --help'"
    )
    return Case("nan", says, ("ratio",), status=2)


def y02_optimizer_named_by_a_mapping(folder: Path) -> Case:
    says = (
        "4:30: finetune.optimizer.name: unknown optimizer a mapping (known: adamw, sgd)"
    )
    return _after(folder, "finetune: {optimizer: {name: {lr: 1}}}\n", says)


def y03_word_for_a_number(folder: Path) -> Case:
    says = "3:33: pools.p.ratio: should be a number, not 'on'"
    return pool_spec_case(folder, "tensors: [weight], ratio: on", says)


def y03_sixty_for_a_number(folder: Path) -> Case:
    says = "3:33: pools.p.ratio: should be a number, not '1:30'"
    return pool_spec_case(folder, "tensors: [weight], ratio: 1:30", says)


def y04_anchor(folder: Path) -> Case:
    says = "3:16: pools.p.tensors: anchors (&x) are not supported"
    return pool_spec_case(folder, "tensors: &x [weight], ratio: 2", says)


def y04_alias_of_itself(folder: Path) -> Case:
    says = (
        "4:11: keep.0: aliases (*x) are not supported; put a pattern that begins with *"
        " in quotes"
    )
    case = _after(folder, "keep: &x [*x]\n", says)
    anchor = f"{case.file}:4:7: keep: anchors (&x) are not supported\n"
    return replace(case, says=anchor + case.says)


def y04_merge_key(folder: Path) -> Case:
    says = "4:1: merge keys (<<) are not supported"
    return _after(folder, "<<: {keep: [bias]}\n", says)


def y05_lists_in_lists(folder: Path) -> Case:
    says = "1:34: nested deeper than 32 levels, which no spec needs"
    return spec_case(folder, "[" * 5000, says)


def y05_spec_above_a_megabyte(folder: Path) -> Case:
    says = f"1:1: longer than {MAX_BYTES} bytes, which no spec needs"
    return spec_case(folder, "#" * (MAX_BYTES + 1), says)


def y05_spec_of_a_gigabyte(folder: Path) -> Case:
    says = f"1:1: longer than {MAX_BYTES} bytes, which no spec needs"
    case = spec_case(folder, "#", says)
    os.truncate(folder / case.file, 1 << 30)
    return case


def y05_hundred_thousand_values(folder: Path) -> Case:
    says = "1:100001: more than 50000 values, which no spec needs"
    return spec_case(folder, "a: [" + "x," * 60_000 + "]", says)


def y05_number_of_5000_digits(folder: Path) -> Case:
    says = "4:18: finetune.seed: a number of 5000 digits, 18 are the most there may be"
    return _after(folder, f"finetune: {{seed: {'1' * 5000}}}\n", says)


def y06_python_object(folder: Path) -> Case:
    says = "4:7: keep: tags ('!!python/object/apply:os.mkdir') are not supported"
    return _after(folder, "keep: !!python/object/apply:os.mkdir [ran]\n", says)


def y06_unknown_tag(folder: Path) -> Case:
    says = "4:7: keep: tags ('!secret') are not supported"
    return _after(folder, "keep: !secret [bias]\n", says)


def y07_empty(folder: Path) -> Case:
    return spec_case(folder, "", "1:1: is empty")


def y07_comments(folder: Path) -> Case:
    return spec_case(folder, "# nothing\n\n", "1:1: is empty")


def y07_word(folder: Path) -> Case:
    says = "1:1: should be a mapping of keys to values, not 'global'"
    return spec_case(folder, "global", says)


def y07_list(folder: Path) -> Case:
    says = "1:1: should be a mapping of keys to values, not a list"
    return spec_case(folder, "- version: 1\n", says)


def y07_two_documents(folder: Path) -> Case:
    return _after(folder, "---\nversion: 1\n", "4:1: a second document; a spec is one")


def y07_no_version(folder: Path) -> Case:
    text = "pools: {p: {tensors: [weight], ratio: 2}}\n"
    return spec_case(folder, text, "1:1: version: is missing")


def y07_version_of_the_future(folder: Path) -> Case:
    text = BEGIN.replace("version: 1", "version: 2")
    return spec_case(folder, text, "1:10: version: should be 1, not 2")


def y07_cut_in_the_middle(folder: Path) -> Case:
    says = (
        "4:1: not valid YAML: did not find expected ',' or '}' while parsing a flow"
        " mapping"
    )
    return spec_case(folder, BEGIN[:-8], says)


def y08_tab(folder: Path) -> Case:
    says = "4:1: a tab in the indentation; YAML takes spaces only"
    return _after(folder, "\tkeep: [bias]\n", says)


def y08_nul(folder: Path) -> Case:
    says = "4:7: a NUL character; a spec is printable text"
    return _after(folder, "keep: \0\n", says)


def y08_escape(folder: Path) -> Case:
    says = "4:1: a control U+001B character; a spec is printable text"
    return _after(folder, "\x1b]0;owned\x07\n", says)


def y08_latin_1(folder: Path) -> Case:
    says = "1:3: byte 0xE9 is not UTF-8; save the file as UTF-8"
    return spec_case(folder, "# é\n".encode("latin-1"), says)


def y08_utf_16(folder: Path) -> Case:
    says = "1:1: UTF-16 text; save the file as UTF-8"
    return spec_case(folder, BEGIN.encode("utf-16"), says)


def y08_program(folder: Path) -> Case:
    says = "1:1: a control U+007F character; a spec is printable text"
    return spec_case(folder, b"\x7fELF\2\1\1" + bytes(100), says)


def _unread(folder: Path, name: str, reason: str) -> Case:
    says = f"{name}: cannot read the spec: {reason}"
    return Case(name, says, OF_SPECS)


def y12_no_such_file(folder: Path) -> Case:
    return _unread(folder, "s.yaml", "No such file or directory")


def y12_folder(folder: Path) -> Case:
    (folder / "s.yaml").mkdir()
    return _unread(folder, "s.yaml", "Is a directory")


def y12_name_too_long(folder: Path) -> Case:
    return _unread(folder, "s" * 300, "File name too long")


def y12_endless_device(folder: Path) -> Case:
    (folder / "s.yaml").symlink_to("/dev/zero")
    says = f"s.yaml:1:1: longer than {MAX_BYTES} bytes, which no spec needs"
    return Case("s.yaml", says, OF_SPECS, status=2)
