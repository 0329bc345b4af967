"""A warm process that runs commands of wpack: it has imported what they need, and forks
for each.

With ``torch`` as its argument that is everything, otherwise all that needs no torch:
forking is ten times cheaper without it.  Reads an order a line from stdin, as JSON,
and answers each with a line:

    {"folder": …, "arguments": […], "out": path, "err": path, "more_nbytes": …}
    {"status": …, "seconds": …, "resident_nbytes": …}

``status`` is the exit status, or minus the number of the signal that ended it.  A
command that is still at it after ``SECONDS`` of wall time gets SIGALRM; one that wants
more than ``more_nbytes`` of memory beyond what this process has finds none.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import sys
import traceback
from contextlib import suppress
from typing import Any, NoReturn

SECONDS = 30
_PAGE = resource.getpagesize()


def import_wpack(*, torch: bool) -> None:
    """Every module of wpack but the one that runs when imported, and what they import
    late."""
    import wpack

    if not torch:
        sys.modules["torch"] = None  # type: ignore[assignment]  # Raises ImportError.
    for found in pkgutil.walk_packages(wpack.__path__, "wpack."):
        if not found.name.endswith("__main__"):
            with suppress(*(() if torch else (ImportError,))):
                importlib.import_module(found.name)
    if not torch:
        del sys.modules["torch"]
    for late in ("rich.console", "rich.text", "rich.progress"):
        importlib.import_module(late)


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Run one command in a child, and wait for it."""
    child = os.fork()
    if not child:
        become(order)
    _, status, usage = os.wait4(child, 0)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "seconds": usage.ru_utime + usage.ru_stime,
        "resident_nbytes": usage.ru_maxrss * 1024,
    }


def become(order: dict[str, Any]) -> NoReturn:
    """Be the process that a shell would have started."""
    status: Any = 1
    try:
        os.chdir(order["folder"])
        redirect(order["out"], order["err"])
        limit(order["more_nbytes"])
        sys.argv[1:] = order["arguments"]
        sys.path.insert(0, "")  # As ``python -m`` does.
        from wpack.__main__ import main

        main()
        status = 0
    except SystemExit as leaving:
        status = leaving.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def redirect(out: str, err: str) -> None:
    """Nothing on stdin, stdout and stderr into files."""
    new = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for fd, path, flags in ((0, os.devnull, os.O_RDONLY), (1, out, new), (2, err, new)):
        opened = os.open(path, flags)
        os.dup2(opened, fd)
        os.close(opened)


def limit(more_nbytes: int) -> None:
    """No core files, an end in time, and this much private memory beyond what there
    is: what is mapped read-only or shared does not count."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open("/proc/self/statm") as file:
        data_pages = int(file.read().split()[5])
    most = data_pages * _PAGE + more_nbytes
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)


def main() -> None:
    """Answer orders until stdin ends."""
    import_wpack(torch="torch" in sys.argv[1:])
    # What is collected in a child would be copied there page by page first.
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
