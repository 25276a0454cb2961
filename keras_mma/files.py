"""Files that are written completely or not at all."""

import contextlib
import errno
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from keras_mma import forms
from keras_mma.errors import InputError, first_line

#: Name of the lock of an output folder.
LOCK = ".lock"
_UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.unfinished")


def write(path: str | os.PathLike, content: str | bytes) -> None:
    """Write text or bytes to a temporary file of its own in the same folder, then replace the file."""
    path = Path(path)
    temporary = _temporary(path.parent)
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def replace(temporary: Path, path: Path) -> None:
    """Give a file or a folder its final name once all of it is on the disk.

    After a power failure, either what was there before or all of the new content is there.
    """
    for place in (temporary, *temporary.rglob("*")):
        _sync(place)
    temporary.replace(path)
    _sync(path.parent)


def _sync(place: Path) -> None:
    # Not every file system lets a folder be opened or flushed, and nothing more can be done there.
    with contextlib.suppress(OSError) if place.is_dir() else contextlib.nullcontext():
        # Windows flushes only what is open for writing.
        number = os.open(place, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextlib.contextmanager
def temporary_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """A new folder below another one, for what takes a name when it is complete; what is left in it is removed."""
    temporary = _temporary(Path(folder))
    temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(folder: Path) -> Path:
    return folder / f".{uuid.uuid4().hex}.unfinished"


def entries(folder: str | os.PathLike) -> list[str]:
    """Sorted names in a folder, without what `write` and `temporary_folder` left in a process that was killed."""
    return sorted(entry.name for entry in Path(folder).iterdir() if not _UNFINISHED.fullmatch(entry.name))


def make_folder(folder: str | os.PathLike) -> None:
    """Make an output folder and those above it, where they do not exist.

    Raises:
        InputError: if that is not possible, for example because the disk is read-only.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"`output` {folder} cannot be written to: {first_line(error)}") from error


def require_space(folder: str | os.PathLike, size: int) -> None:
    """Raise the error of a full disk unless there is room, for a library that does not survive a full disk.

    Args:
        folder: A folder that exists.
        size: Number of bytes.
    """
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, f"No space left on device for {size / 1e6:.1f} MB", str(folder))


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or one from which it follows, is that of a full disk."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def full_disk(folder: str | os.PathLike) -> str:
    """What to do if the disk of a folder is full, in one line."""
    return f"the disk of {folder} is full: make room and run the same command again, which resumes"


def remove_unfinished(folder: str | os.PathLike, is_recursive: bool = False) -> None:
    """Remove what `write` and `temporary_folder` left in a folder, to which no other process may be writing."""
    for path in list(Path(folder).glob("**/.*.unfinished" if is_recursive else ".*.unfinished")):
        if not _UNFINISHED.fullmatch(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path, user: str) -> Iterator[None]:
    """Lock an output folder while a block runs.

    Args:
        folder: A folder that exists. Its lock is the file `.lock`.
        user: What locks it, such as `"study"`.

    Raises:
        InputError: if another process has locked it.
    """
    import filelock

    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InputError(f"`output` must not be in use by another {user}: wait for it. Received: {folder}") from None
    try:
        yield
    finally:
        lock.release()


def remove_lock(lock: Path, folders: Iterable[Path]) -> None:
    """Leave a folder that is refused, or was made in vain, as it was.

    Call it before the lock is released: afterwards the file may be that of another process.

    Args:
        lock: The file of a lock that this process holds.
        folders: Folders that were made for it, the inner ones first; those that are not empty stay.
    """
    with contextlib.suppress(OSError):  # Windows does not remove a file that is open
        lock.unlink()
        for folder in folders:
            folder.rmdir()


def refuse_links(folder: str | os.PathLike) -> None:
    """Refuse symbolic links below a folder, through which files elsewhere would be replaced or removed.

    Raises:
        InputError: if there is one. The folder itself may be a link.
    """
    for place, folders, names in os.walk(os.fspath(folder)):
        for path in (Path(place, name) for name in sorted([*folders, *names])):
            if path.is_symlink():
                raise InputError(
                    f"`output` must not hold links, through which files elsewhere would be replaced. Received: {path}"
                )


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write JSON. NaN and infinity, which JSON does not have, are refused."""
    write(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike, form: dict | None = None) -> dict:
    """Read a dict.

    Args:
        path: A JSON file.
        form: What it must hold, see `keras_mma.forms.fault`; any dict by default.

    Raises:
        InputError: if the file cannot be read, or holds anything else.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse, parse_float=_finite)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {first_line(error)}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold a JSON object. Received: {type(value).__name__}")
    wrong = forms.fault(value, form or {})
    if wrong:
        raise InputError(f"{path} is damaged: {wrong}")
    return value


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    return float(text) if math.isfinite(float(text)) else _refuse(text)
