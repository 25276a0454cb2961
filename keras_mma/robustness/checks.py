"""What can be refused before anything is measured."""

import contextlib
import tempfile

from keras_mma import saliency as detectors
from keras_mma.errors import InputError, first_line
from keras_mma.robustness import files, parts, summary
from keras_mma.robustness.occlusion import GRID
from keras_mma.robustness.outputs import KINDS


def check_options(only, limit, batch_size, seed, outputs, restarts, image_size, saliency):
    """The sections in their order, once every plain option has proved to be good."""
    unknown = sorted(set(only or ()) - set(parts.SECTIONS))
    if unknown or (only is not None and not only):
        raise InputError(
            f"--only must name some of {', '.join(parts.SECTIONS)}. Received: {', '.join(unknown) or only}"
        )
    counts = {"limit": limit, "batch-size": batch_size, "restarts": restarts, "image-size": image_size}
    for name, value in counts.items():
        if value is not None and value < 1:
            raise InputError(f"--{name} must be at least 1. Received: {value}")
    if seed < 0:
        raise InputError(f"--seed must not be negative. Received: {seed}")
    if outputs is not None and outputs not in KINDS:
        raise InputError(f"--outputs must be logits or probabilities. Received: {outputs!r}")
    try:
        detectors.get(saliency)
    except ValueError as error:
        raise InputError(f"--saliency: {error}") from error
    return [section for section in parts.SECTIONS if only is None or section in only or section == "clean"]


def check_size(image_shape, sections):
    """Refuse images that are smaller than the grid of the occlusion, where that is measured."""
    height, width = image_shape[:2]
    if "occlusion" in sections and min(height, width) < GRID:
        raise InputError(
            f"occlusion needs images of at least {GRID} x {GRID} pixels: name the other sections with --only. "
            f"Received: {height} x {width}"
        )


def check_writable(output):
    """Refuse a folder in which no file can be made, and leave none behind."""
    made = []
    try:
        if output.exists() and not output.is_dir():
            raise InputError(f"--output must be a folder. Received: {output}, a file")
        for folder in (*reversed(output.parents), output):
            if not folder.exists():
                folder.mkdir()
                made.append(folder)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise InputError(f"--output {output} cannot be written to: {first_line(error)}") from error
    finally:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()


def check_output(output, head, sections):
    """Refuse a folder that holds another model's report, or sections that this run would not put back."""
    if (output / "report.json").exists():
        before = files.read_report(output)
        if before["model"]["sha256"] != head["model"]["sha256"]:
            raise InputError(
                f"--output {output} holds the report of another model, {before['model']['path']}: choose another folder"
            )
        lost = [section for section in parts.SECTIONS if section in before and section not in sections]
        if lost:
            raise InputError(f"--output {output} holds a report that has {', '.join(lost)} too: choose another folder")


def check_baseline(head, baseline, path, corruptions):
    """Refuse a baseline of other images, or one that lacks a corruption.

    Args:
        head: What is known of this report before anything is measured.
        baseline: The other report.
        path: What to call it.
        corruptions: Names of those that are going to be measured.
    """
    label = {"corruption": {"label": head["run"]["corruptions"]}}
    if "corruption" not in baseline:
        raise InputError(f"--baseline {path} has no section on corruption")
    summary.check_comparable([head | label, baseline], ["this evaluation", path])
    missing = [name for name in corruptions if name not in baseline["corruption"]["results"]]
    if missing:
        raise InputError(f"--baseline {path} lacks {', '.join(missing)}")
