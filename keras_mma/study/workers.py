"""Call a function for many items in this process, in several, or on the workers of a scheduler."""

import contextlib
import sys
from concurrent.futures import BrokenExecutor

from keras_mma.errors import InputError, first_line

# In seconds.
_SCHEDULER_TIMEOUT = 20


def for_each(function, items, arguments, jobs=1, scheduler=None, threads=None):
    """Call a function for each item, in this process, in several or on the workers of a scheduler.

    Args:
        function: Function of an item and the arguments.
        items: List.
        arguments: Tuple.
        jobs: Number of processes.
        scheduler: Address of a scheduler of `dask.distributed`, or `None`.
        threads: Number of threads that numerical libraries may use in each of several processes; by default they share
            the cores.

    Returns:
        The list of what the calls returned.
    """
    if not scheduler and jobs == 1:
        return [function(item, *arguments) for item in items]
    import joblib

    with contextlib.ExitStack() as stack:
        if scheduler:
            stack.enter_context(_client(scheduler))
            stack.enter_context(joblib.parallel_config(backend="dask"))
        else:
            # On the command line, no lines that TensorFlow logs. The module beside the package imports nothing heavy.
            command = sys.modules.get("keras_mma_command")
            quiet = {} if command is None else {"initializer": command.load_quietly}
            stack.enter_context(joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=threads, **quiet))
        # One item at a time for each worker: they are long, and an interrupted batch would lose the others.
        parallel = joblib.Parallel(batch_size=1, pre_dispatch="all" if scheduler else "2*n_jobs")
        try:
            return parallel(joblib.delayed(function)(item, *arguments) for item in items)
        except _broken(scheduler) as error:
            raise InputError(
                "a worker has ended, perhaps for lack of memory: use fewer `jobs`; the same command resumes "
                f"({type(error).__name__})"
            ) from error


def _broken(scheduler):
    """The errors of workers that have ended by themselves."""
    if not scheduler:
        return BrokenExecutor
    from distributed import KilledWorker

    return KilledWorker


def _client(scheduler):
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError("`scheduler` needs dask.distributed: pip install 'keras-mma[dask]'") from error
    try:
        client = Client(scheduler, timeout=_SCHEDULER_TIMEOUT)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"`scheduler` {scheduler} cannot be reached: {first_line(error)}") from error
    try:
        client.wait_for_workers(1, timeout=_SCHEDULER_TIMEOUT)
    except TimeoutError as error:
        client.close()
        raise InputError(
            f"`scheduler` must have at least one worker: start `dask worker`. Received: {scheduler} without any"
        ) from error
    return client
