"""The folder that a command writes to: new, empty or its own, and used by one process at a time."""

import contextlib
from pathlib import Path, PurePath

from keras_mma.errors import InputError, first_line
from keras_mma.files import LOCK, entries, locked, read_json, remove_unfinished, write, write_json

# Lists the files that were written, in the folder itself.
MARKER = ".keras-mma.json"


class OutputFolder:
    """A folder in which only files that it has written are replaced or removed. A context manager.

    Entering makes the folder if necessary and locks it. Leaving unlocks it, and removes it if nothing was written.
    Links in the folder are not followed.

    Args:
        path: Path of the folder.
        content: What the folder holds, such as `"robustness report"`. A folder that holds something else is refused.

    Raises:
        InputError: on entering, if the folder holds other files or a link in the place of one of its own files, cannot
            be written to or is in use.
    """

    def __init__(self, path, content):
        self.path, self.content = Path(path), content
        self._made, self._written = [], set()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.callback(self._remove_folders)
            try:
                self._make_folders()
                self._read_marker()
                stack.enter_context(locked(self.path, "process"))
                stack.callback(self._remove_lock)
                self._read_marker()  # another process may have changed it before the lock
                remove_unfinished(self.path, is_recursive=True)
            except OSError as error:
                raise InputError(f"`output` {self.path} cannot be written to: {first_line(error)}") from error
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        self._stack.close()

    def claim(self, names):
        """Reserve file names below the folder, before work that would be lost if they could not be written.

        Raises:
            InputError: if there is such a file that was not written by this class.
        """
        new = set(names) - self._written
        for name in sorted(new):
            if self._place(name).exists():
                raise InputError(
                    f"`output` must not hold files that would be replaced: choose another folder. "
                    f"Received: {self.path / name}, which keras-mma did not write"
                )
        if new:
            self._written |= new
            self._write_marker()

    def write(self, name, content):
        """Write text or bytes to a file, which is complete or not there."""
        self.claim([name])
        path = self._place(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, content)

    def written(self, prefix=""):
        """Names of the files written so far, in this run or an earlier one."""
        return sorted(name for name in self._written if name.startswith(prefix))

    def remove(self, names):
        """Remove files that were written, and folders that become empty. Their names are free again."""
        removed = self._written & set(names)
        for name in removed:
            path = self._place(name)
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                for parent in path.relative_to(self.path).parents[:-1]:
                    (self.path / parent).rmdir()
        if removed:
            self._written -= removed
            self._write_marker()

    def _write_marker(self):
        write_json(self.path / MARKER, {"content": self.content, "files": sorted(self._written)})

    def _place(self, name):
        """The path of a file. A link to it, or to a folder above it, could lead anywhere."""
        path = self.path
        for part in PurePath(name).parts:
            path /= part
            if path.is_symlink():
                raise InputError(
                    f"`output` must not hold links, through which files elsewhere would be replaced. Received: {path}"
                )
        return path

    def _make_folders(self):
        for folder in (*reversed(self.path.parents), self.path):
            if not folder.exists():
                folder.mkdir()
                self._made.append(folder)

    def _read_marker(self):
        if not self.path.is_dir():
            raise InputError(f"`output` must be a folder. Received: {self.path}, a file")
        self._place(LOCK)
        if self._place(MARKER).exists():
            try:
                marker = read_json(self.path / MARKER, {"content": str, "files": [str]})
                content, self._written = marker["content"], set(map(_inside, marker["files"]))
            except ValueError as error:
                raise InputError(f"`output` {self.path} has a damaged {MARKER}: {error}") from error
            if content != self.content:
                raise InputError(f"`output` must not hold a {content}: choose another folder. Received: {self.path}")
            for name in self._written:
                self._place(name)
            return
        others = [name for name in entries(self.path) if name != LOCK]
        if others:
            raise InputError(
                "`output` must be a new or empty folder, or one that keras-mma has written. "
                f"Received: {self.path}, which holds {others[0]}"
            )

    def _remove_lock(self):
        """Remove the lock file of a folder in which nothing was written."""
        with contextlib.suppress(OSError):
            if not (self.path / MARKER).exists():
                (self.path / LOCK).unlink()

    def _remove_folders(self):
        """Remove the folders that were made, where they are empty."""
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _inside(name):
    """A name of the marker. Whoever made the folder could name files outside of it, which would then be removed."""
    if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise ValueError(f"{name} is outside of the folder")
    return name
