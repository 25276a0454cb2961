"""The entry point of the `keras-mma` command.

It is a module beside the package because `import keras_mma` imports Keras, which takes seconds. Help, the version and
errors in the options must not wait for that, so `__init__.py` of the package runs after the command line is parsed.
"""

import contextlib
import importlib
import importlib.util
import os
import re
import signal
import sys
import tempfile
import types
from collections.abc import Iterator

_LOG_LINE = re.compile(
    r"[IW]\d{4} \d\d:\d\d:\d+\.|WARNING: All log messages before absl|To enable the following instructions"
)
_BACKENDS = ("tensorflow", "jax", "torch")


def main() -> int:
    """Run the command with the words of the command line.

    Returns:
        The exit status.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    interrupted: list[int] = []

    def interrupt(number: int, frame: types.FrameType | None) -> None:
        # A library that is interrupted while it is imported may turn the exception into another one.
        interrupted.append(number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        spec = importlib.util.find_spec("keras_mma")
        assert spec is not None and (loader := spec.loader) is not None  # it is installed with this module
        package = importlib.util.module_from_spec(spec)
        sys.modules["keras_mma"] = package
        from keras_mma import cli

        def load_package() -> None:
            with _without_log_lines(), _errors_of_backends():
                loader.exec_module(package)

        return cli.main(load_package=load_package)
    except BaseException as error:
        if not interrupted and not isinstance(error, KeyboardInterrupt):
            raise
        if not isinstance(error, SystemExit):
            print("\nkeras-mma: interrupted", file=sys.stderr)
        return 130


def load_quietly() -> None:
    """Import the package without the lines that TensorFlow logs, in scripts and in the worker processes of a study."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _without_log_lines():
        importlib.import_module("keras_mma.study.running")
        importlib.import_module("keras_mma.study.cell_training")


@contextlib.contextmanager
def _errors_of_backends() -> Iterator[None]:
    """Turn the errors of Keras about a backend that is unknown or not installed into some that say what to do."""
    try:
        yield
    except ValueError as error:
        chosen = os.environ.get("KERAS_BACKEND", "")
        if chosen in ("", *_BACKENDS):
            raise
        from keras_mma.errors import InputError

        raise InputError(
            "the environment variable KERAS_BACKEND must be tensorflow, jax or torch. "
            f"Received: KERAS_BACKEND={chosen!r}"
        ) from error
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _BACKENDS:
            raise
        from keras_mma.errors import InputError

        installed = [name for name in _BACKENDS if name != missing and importlib.util.find_spec(name)]
        advice = f"set the environment variable KERAS_BACKEND to {' or '.join(installed)}, or " if installed else ""
        raise InputError(
            f"Keras' backend {missing} is not installed: {advice}pip install 'keras-mma[{missing}]'"
        ) from None


@contextlib.contextmanager
def _without_log_lines() -> Iterator[None]:
    """Leave out the lines that TensorFlow logs while it is imported, of which the log level silences only some.

    Everything else that is written to the standard error stream meanwhile is written at the end.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile("w+", errors="replace") as captured, os.fdopen(os.dup(2), "w") as stream:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stream.fileno(), 2)
            captured.seek(0)
            stream.writelines(line for line in captured if not _LOG_LINE.match(line))
