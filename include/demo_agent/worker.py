"""One generation in a process of its own, limited in memory and CPU time: request on standard input, answer on output.

The answer is one of `{"result": ...}`, `{"refused": detail}` and `{"stopped": detail}`.
"""

import json
import resource
import sys
import traceback
from typing import Any

_MIB = 1024 * 1024


def main() -> None:
    """Read a request, generate, write the answer."""
    request = json.load(sys.stdin)
    _limit(memory_mib=request["memory_mib"], cpu_seconds=request["timeout_seconds"])
    json.dump(_answer(request), sys.stdout)


def _limit(*, memory_mib: int, cpu_seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_mib * _MIB, memory_mib * _MIB))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * _MIB, 64 * _MIB))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from demo_agent.errors import DocumentRefusedError, GenerationStoppedError
    from demo_agent.generation import generate

    try:
        return {"result": generate(request["document"], name=request["name"])}
    except DocumentRefusedError as exc:
        return {"refused": str(exc)}
    except GenerationStoppedError as exc:
        return {"stopped": str(exc)}
    except MemoryError:
        return {"stopped": f"it needs more than {request['memory_mib']} MiB of memory"}
    except Exception as exc:  # noqa: BLE001 - no document may make the server look broken; the log has the cause
        traceback.print_exc()
        return {"refused": f"the document could not be turned into a service ({type(exc).__name__})"}


if __name__ == "__main__":
    main()
