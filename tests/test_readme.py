"""What the README tells a stranger to type does what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from samples.digits.task import resnet
from wpack.spec import parse

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    """The README's fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that looks like the repository's, to run commands in."""
    found = tmp_path_factory.mktemp("readme")
    for name in ("samples", "wpack", "pyproject.toml", "Makefile"):
        (found / name).symlink_to(ROOT / name)
    yield found
    shutil.rmtree(found)


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line as a shell does, with this interpreter's wpack."""
    path = os.pathsep.join([str(SCRIPTS), os.environ.get("PATH", "")])
    return subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def transcript(folder: Path) -> dict[str, subprocess.CompletedProcess[str]]:
    """Every command of the README's shell block, run in order."""
    (block,) = blocks("sh")
    return {line: run(line, folder) for line in block.splitlines() if line}


def test_commands_run(
    transcript: dict[str, subprocess.CompletedProcess[str]],
) -> None:
    """Each of them succeeds, after those before it."""
    failed = {line: r.stderr for line, r in transcript.items() if r.returncode}

    assert failed == {}
    assert len(transcript) >= 10


def test_fine_tuning_pays(
    transcript: dict[str, subprocess.CompletedProcess[str]],
) -> None:
    """The sample's network is as good as the README of the samples says."""
    (measured,) = (r for line, r in transcript.items() if line.startswith("wpack eval"))
    accuracy = float(re.search(r"accuracy\s+([0-9.]+)", measured.stdout)[1])

    assert accuracy >= 0.98


def test_python_runs(
    folder: Path,
    transcript: dict[str, subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The library's examples, on the files that the commands made."""
    monkeypatch.chdir(folder)
    shutil.copy(ROOT / "samples/digits/vit.safetensors", "model.safetensors")
    (block,) = blocks("python")
    names = {"model": resnet.model()}
    exec(block, names)

    assert names["weight"].shape == names["state"]["conv1.weight"].shape
    assert Path("model.wpool").exists()


def test_spec_is_a_spec() -> None:
    """The example of a pool spec parses."""
    (block,) = blocks("yaml")

    assert parse(block).pools.keys() == yaml.safe_load(block)["pools"].keys()


def test_make_demo(folder: Path) -> None:
    """The demo's commands succeed and its table adds up; only the installing into a
    fresh environment is left out."""
    environment = folder / ".venv"
    (environment / "bin").mkdir(parents=True)
    for name in ("python", "wpack"):
        (environment / "bin" / name).symlink_to(SCRIPTS / name)
    (environment / "installed-samples").touch()
    result = run("make demo", folder)

    assert result.returncode == 0, result.stderr
    (row,) = re.findall(
        r"^total +([\d,]+) +([\d,]+) +[\d.]+ +([\d,]+)", result.stdout, re.M
    )[-1:]
    size = (folder / "build/demo/digits-vit.wpool").stat().st_size
    assert int(row[2].replace(",", "")) == size
