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
from tests.blobs import needs
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
    """Every command of the README's shell blocks, run in order."""
    lines = "".join(blocks("sh")).splitlines()
    return {line: run(line, folder) for line in lines if line}


@needs("int, zstd")
def test_commands_run(
    transcript: dict[str, subprocess.CompletedProcess[str]],
) -> None:
    """Each of them succeeds, after those before it."""
    failed = {line: r.stderr for line, r in transcript.items() if r.returncode}

    assert failed == {}
    assert len(transcript) >= 10


def accuracy_of(
    file: str, transcript: dict[str, subprocess.CompletedProcess[str]]
) -> float:
    """What ``wpack eval`` said of a file."""
    command = f"wpack eval {file} "
    (found,) = (r for line, r in transcript.items() if line.startswith(command))
    return float(re.search(r"accuracy\s+([0-9.]+)", found.stdout)[1])


def test_fine_tuning_pays(
    transcript: dict[str, subprocess.CompletedProcess[str]],
) -> None:
    """The sample's network is as good as the README of the samples says."""
    assert accuracy_of("resnet.wpool", transcript) >= 0.98


@needs("int, zstd")
def test_codecs_cost_little(
    folder: Path, transcript: dict[str, subprocess.CompletedProcess[str]]
) -> None:
    """The bytes and the accuracy that the README claims of four bits and zstd, give or
    take what another machine's arithmetic, or another version of zstd, makes of it."""
    wanted = re.search(r"to ([\d,]+) bytes with no training", README.replace("\n", " "))
    claimed = int(wanted[1].replace(",", ""))

    assert accuracy_of("vit4.wpool", transcript) >= 0.98
    assert abs((folder / "vit4.wpool").stat().st_size - claimed) < 0.01 * claimed


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


FIRST, CODECS = blocks("yaml")


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(FIRST, id="first"),
        pytest.param(CODECS, id="codecs", marks=needs("int, zstd, prune, kmeans")),
    ],
)
def test_spec_is_a_spec(block: str) -> None:
    """The examples of pool specs parse."""

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
