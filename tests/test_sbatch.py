"""The job script of docs/finetuning.md, with a torchrun that only waits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "finetuning.md"
#: Says that it has begun, and ends when it is asked to, as torchrun: with 1.
TORCHRUN = """#!/bin/bash
trap 'sleep 0.2; echo saved > state; exit 1' TERM
echo "$@" > begun
while [ ! -e done ]; do sleep 0.02; done
touch resnet50.wpool
"""
SCONTROL = '#!/bin/bash\n[ -e state ] && echo "$@" > requeued\n'


def submitted(folder: Path) -> subprocess.Popen[bytes]:
    """The script, at work."""
    (script,) = re.findall(r"```bash\n(#!/bin/bash.*?)```", PAGE.read_text(), re.DOTALL)
    for name, text in (("torchrun", TORCHRUN), ("scontrol", SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    job = subprocess.Popen(["bash", "-c", script], cwd=folder, env=environment)
    begin = time.monotonic()
    while not (folder / "begun").exists():
        assert time.monotonic() - begin < 60
        time.sleep(0.01)
    return job


def test_requeued(tmp_path: Path) -> None:
    """The end of its time is passed on; the job is put back when all is saved."""
    job = submitted(tmp_path)
    job.send_signal(signal.SIGUSR1)

    assert 1 == job.wait(60)
    assert "requeue 7\n" == (tmp_path / "requeued").read_text()
    assert "--resume auto" in (tmp_path / "begun").read_text()


def test_done(tmp_path: Path) -> None:
    """A job that has come to its end is not put back."""
    job = submitted(tmp_path)
    (tmp_path / "done").touch()

    assert 0 == job.wait(60)
    assert not (tmp_path / "requeued").exists()
