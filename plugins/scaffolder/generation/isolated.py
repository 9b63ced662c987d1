"""The program that an isolated process runs first: it limits itself, then runs the module it was started for.

A script: `scaffolder.generation.isolation` starts it and shares nothing with it but its exit statuses. Until the
limits hold, nothing is imported but what sets them.
"""

import fcntl
import os
import resource
import sys

OUT_OF_MEMORY = 113
FILE_TOO_LARGE = 114


def _limit(kind: int, soft: int, spare: int = 0) -> None:
    _, highest = resource.getrlimit(kind)
    hard = soft + spare
    if highest != resource.RLIM_INFINITY:
        hard = min(hard, highest)
    resource.setrlimit(kind, (min(soft, hard), hard))


def _die_with_parent(lifeline: int) -> None:
    """Have the kernel end the whole process group when the other end of the pipe closes, however the parent ends."""
    os.set_inheritable(lifeline, False)  # noqa: FBT003 - its argument has no other form
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    try:
        closed = os.read(lifeline, 1) == b""
    except BlockingIOError:
        closed = False
    if closed:
        os._exit(1)


def _main() -> None:
    _, lifeline, memory_size, cpu_seconds, file_size, open_files, path, module, *arguments = sys.argv
    _die_with_parent(int(lifeline))
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, int(file_size))
    _limit(resource.RLIMIT_NOFILE, int(open_files))
    # One second after SIGXCPU, which a program may ignore, comes SIGKILL, which it may not.
    _limit(resource.RLIMIT_CPU, int(cpu_seconds), spare=1)
    _limit(resource.RLIMIT_AS, int(memory_size))
    sys.path[:] = path.split(os.pathsep)
    sys.argv[:] = [module, *arguments]
    import errno
    import importlib

    try:
        importlib.import_module(module).main()
        sys.stdout.flush()
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except OSError as error:
        if error.errno == errno.EFBIG:
            os._exit(FILE_TOO_LARGE)
        raise
    # Nothing is left to tidy up, and taking an interpreter down takes time.
    os._exit(0)


if __name__ == "__main__":
    _main()
