from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local_airflow.errors import BusyError
from local_airflow.lock import exclusive_lock


def test_the_second_is_told_who_holds_it_and_what_that_one_does(tmp_path: Path) -> None:
    with (
        exclusive_lock(tmp_path / "lock", doing="baking"),
        pytest.raises(BusyError, match=f"Process {os.getpid()} is baking"),
        exclusive_lock(tmp_path / "lock", doing="frying"),
    ):
        pass


def test_it_can_be_had_again_after_the_block(tmp_path: Path) -> None:
    for _ in range(2):
        with exclusive_lock(tmp_path / "lock", doing="baking"):
            pass


def test_a_killed_holder_leaves_it_free(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import os, signal; from pathlib import Path; from local_airflow.lock import exclusive_lock\n"
        f"with exclusive_lock(Path({str(path)!r}), doing='dying'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == -9
    with exclusive_lock(path, doing="baking"):
        pass


def test_a_process_started_meanwhile_does_not_inherit_it(tmp_path: Path) -> None:
    with exclusive_lock(tmp_path / "lock", doing="baking"):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    try:
        with exclusive_lock(tmp_path / "lock", doing="baking"):
            pass
    finally:
        child.kill()
        child.wait()
