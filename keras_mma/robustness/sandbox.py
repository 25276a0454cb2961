"""An evaluation in a process of its own, with limits of time and memory, for models that may use too much of either.

A model can still read and write every file that its user can: the limits are no protection from a hostile SavedModel.
"""

import contextlib
import os
import signal
import subprocess
import sys

from keras_mma.errors import InputError
from keras_mma.terminal import show

# Standard input ends when the parent does, however it ends; the process then ends with its whole group.
_END_WITH_PARENT = """\
import os, signal, sys, threading

def end():
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL) if hasattr(os, "killpg") else os._exit(1)

threading.Thread(target=end, daemon=True).start()
"""
_CHILD = "import keras_mma_command; sys.exit(keras_mma_command.main())"


def run(words: list[str], minutes: float = 60.0, gibibytes: float = 16.0) -> int:
    """Run `keras-mma` in a process of its own.

    Args:
        words: The words of the command line.
        minutes: Time after which the process is ended.
        gibibytes: Memory that it can allocate. Linux alone can limit it; elsewhere a warning says so.

    Returns:
        The exit status of the process.

    Raises:
        InputError: if a limit is not positive, the process ran too long, or it failed, as it does where memory is
            short.
    """
    for name, value in (("sandbox_minutes", minutes), ("sandbox_gib", gibibytes)):
        if not 0 < value < float("inf"):
            raise InputError(f"`{name}` must be a positive number. Received: {name}={value}")
    # -P: no modules from the current folder, which may hold anything.
    command = [sys.executable, "-P", "-c", _END_WITH_PARENT + _CHILD, *words]
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(place for place in places if place not in ("", "."))}
    process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.PIPE, env=environment)
    try:
        limit_memory(process.pid, int(gibibytes * 2**30))
        status = process.wait(60 * minutes)
    except subprocess.TimeoutExpired:
        raise InputError(
            f"the evaluation took longer than the {minutes:g} minutes of `sandbox_minutes`; the same command resumes "
            "with the finished parts"
        ) from None
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        return process.wait()
    finally:
        with contextlib.suppress(OSError, AttributeError):  # it has ended, or the system has no groups
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if status == 1 or status < 0:
        how = "failed as printed above" if status == 1 else f"was ended by {signal.Signals(-status).name}"
        raise InputError(
            f"the evaluation {how}: if memory was short, allow more than the {gibibytes:g} GiB of `sandbox_gib`"
        )
    return status


def limit_memory(pid: int, size: int) -> None:
    """Limit the memory that a process can allocate, where the system has such a limit, and say where it has none."""
    try:
        import resource

        # Unlike RLIMIT_AS, it leaves out addresses that are reserved and not written, of which TensorFlow needs many.
        resource.prlimit(pid, resource.RLIMIT_DATA, (size, size))
    except (ImportError, AttributeError):
        show("keras-mma: warning: this system cannot limit the memory of the evaluation, only its time", error=True)
    except (OSError, OverflowError, ValueError) as error:
        raise InputError(f"`sandbox_gib` cannot be applied here: {error}. Received: {size / 2**30:g} GiB") from error
