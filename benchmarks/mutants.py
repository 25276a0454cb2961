"""Mutants: small faults that are put into the source one at a time, and whether a test fails on each.

    python -m benchmarks.mutants --output docs/results/mutants.json

copies the checkout, lets mutmut change each module of the mixing itself, and runs the quick tests of the module on
PyTorch, which takes the least time. Mutants that survive are tested with the conventions too, and on TensorFlow.
`--modules` chooses modules; those that the record has already are kept. `mutants.toml` says of survivors why no test
can fail on them. The page has the score, and each survivor with its reason.
"""

import argparse
import concurrent.futures
import json
import os
import random
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

from benchmarks import mutant_reasons, records

ROOT = Path(__file__).parents[1]
#: Modules by name: the files that are changed, and the tests that have to fail.
MODULES = {
    "plans": (
        ["keras_mma/plans.py", "keras_mma/moving.py"],
        ["tests/test_plans.py", "tests/models/test_targets.py", "tests/models/test_segmentation.py"],
    ),
    "sampling": (["keras_mma/sampling.py"], ["tests/test_sampling.py"]),
    "labels": (
        ["keras_mma/label_encoding.py", "keras_mma/label_maps.py"],
        ["tests/test_label_encoding.py", "tests/test_label_maps.py", "tests/models/test_targets.py"],
    ),
    "resampling": (["keras_mma/resampling.py"], ["tests/test_resampling.py", "tests/layers/test_feature_mix_adapt.py"]),
    "saliency": (["keras_mma/saliency/*.py"], ["tests/saliency", "tests/models/test_attribution.py"]),
    "layers": (["keras_mma/layers/*.py"], ["tests/layers", "tests/test_default_arguments.py"]),
    "models": (
        ["keras_mma/models/*.py"],
        ["tests/models", "tests/layers/test_label_rules.py", "tests/test_default_arguments.py"],
    ),
}
#: The conventions and the probe, which cost more and run on survivors only.
CONVENTIONS = ["tests/layers/test_contract.py", "tests/test_zero_loss.py"]
#: These tests count the lines of files, which mutants lengthen.
LENGTHS = "tests/layers/test_mixer_files.py"
#: Seconds after which the tests of a survivor count as failed.
TIMEOUT = 1800
#: What tests read beside the package and themselves.
ALSO_COPIED = [
    "benchmarks", "docs", "examples", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "README.md", "SECURITY.md",
    "constraints.txt", "keras_mma_command.py",
]  # fmt: skip
SURVIVED = ("survived", "no tests")
#: Keras reads the arguments of a constructor without following `__wrapped__`, so mutated functions need a signature.
CONFTEST = """
import functools
import inspect

from mutmut.mutation import trampoline


def _wraps(function):
    def decorate(wrapper):
        wrapper = functools.wraps(function)(wrapper)
        wrapper.__signature__ = inspect.signature(function)
        return wrapper

    return decorate


trampoline.wraps = _wraps
"""

_HEAD = """\
# Mutants

mutmut puts small faults into the source, one at a time: another operator, number, string or argument. Where it makes
many, some are drawn by chance and *tested*. A mutant is *killed* if a quick test of its module fails or takes too long.
*Equivalent* ones survive because no test could see them, for the reason given below. The score is the share of the
others that is killed. {tests}

```sh
{commands}
```"""
_FIRST_DRAW = "Tests were written for survivors: another draw scores lower (see [the second](mutants-second.md))."
_OTHER_DRAW = (
    "This draw was scored before tests were written for its survivors; some mutants are in [the first](mutants.md) too."
)


def make_folder(folder, files, tests):
    """Copy the files under version control, and configure mutmut there."""
    if folder.exists():
        shutil.rmtree(folder)
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in (name for name in tracked.split("\0") if (ROOT / name).is_file()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    conftest = folder / "tests" / "conftest.py"
    conftest.write_text(CONFTEST + conftest.read_text())
    settings = {
        "source_paths": ["keras_mma"],
        "only_mutate": files,
        "also_copy": ALSO_COPIED,
        "pytest_add_cli_args_test_selection": tests,
        # Otherwise the samples of the fast suite depend on which tests are chosen for a mutant.
        "pytest_add_cli_args": ["-m", "not slow", *(f"--ignore={name}" for name in (*CONVENTIONS, LENGTHS))],
    }
    with open(folder / "pyproject.toml", "a") as stream:
        stream.write("\n[tool.mutmut]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))


def mutate(module, workers, limit, chosen=None, draw=0):
    """Make and test the mutants of a module.

    Args:
        module: A key of `MODULES`.
        workers: Number of processes.
        limit: Largest number of mutants that are tested, drawn by chance.
        chosen: List of the names of mutants that are tested instead.
        draw: Seed of the draw.

    Returns:
        A dict with the number of mutants that were `made`, the `counts` of those tested by status, and `survivors`:
        dicts with `name` and `change`, the changed lines.
    """
    folder = ROOT / "runs" / "mutants" / module
    make_folder(folder, *MODULES[module])
    environment = os.environ | {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"}
    program = str(Path(sys.executable).with_name("mutmut"))

    def mutmut(*words):
        return subprocess.run([program, *words], cwd=folder, env=environment, capture_output=True, text=True)

    def statuses_of():
        return dict(re.findall(r"^\s+(\S+): (.+)$", mutmut("results", "--all", "true").stdout, re.MULTILINE))

    # This makes the mutants, and fails because none has the name.
    process = mutmut("run", "none")
    names = sorted(statuses_of())
    drawn = sorted(random.Random(draw).sample(names, limit)) if limit < len(names) else names
    drawn = drawn if chosen is None else chosen
    if drawn:
        process = mutmut("run", "--max-children", str(workers), *drawn)
    (folder / "mutmut.log").write_text(process.stdout + process.stderr)
    if process.returncode:
        raise RuntimeError(f"mutmut failed for {module}, see {folder / 'mutmut.log'}")
    statuses = {name: status for name, status in statuses_of().items() if name in set(drawn)}
    reasons = mutant_reasons.read()

    def test_survivor(name):
        lines = mutmut("show", name).stdout.splitlines()
        survivor = {"name": name, "change": [line for line in lines if re.match(r"[-+](?!--|\+\+)", line)]}
        killers = {"tensorflow": MODULES[module][1], "torch": CONVENTIONS}
        killed = mutant_reasons.reason_of(survivor, reasons) is None and any(
            fails(name, folder, *one) for one in killers.items()
        )
        return survivor, killed

    survivors = []
    with concurrent.futures.ThreadPoolExecutor(workers) as executor:
        survived = [name for name, status in statuses.items() if status in SURVIVED]
        for survivor, killed in executor.map(test_survivor, survived):
            if killed:
                statuses[survivor["name"]] = "killed by further tests"
            else:
                survivors.append(survivor)
    counts = {status: list(statuses.values()).count(status) for status in sorted(set(statuses.values()))}
    return {"made": len(names), "counts": counts, "survivors": survivors}


def mutate_again(module, workers, part):
    """Test the survivors of a record, after tests were added; arguments and result as for `mutate`."""
    changed = ["git", "diff", "--quiet", part["commit"], "--", *MODULES[module][0]]
    if subprocess.run(changed, cwd=ROOT).returncode:
        raise RuntimeError(f"The source of {module} is not that of commit {part['commit']}: run all of its mutants.")
    if not part["survivors"]:
        return part
    again = mutate(module, workers, 0, [survivor["name"] for survivor in part["survivors"]])
    counts = {status: count for status, count in part["counts"].items() if status not in SURVIVED}
    for status, count in again["counts"].items():
        counts[status] = counts.get(status, 0) + count
    return again | {"counts": counts, **{name: part[name] for name in ("limit", "draw") if name in part}}


def fails(name, folder, backend, tests):
    """Whether one of the fast tests of files fails on a mutant on a backend."""
    environment = os.environ | {"KERAS_BACKEND": backend, "MUTANT_UNDER_TEST": name, "PYTHONPATH": "."}
    words = [sys.executable, "-m", "pytest", "-q", "-x", *tests, f"--ignore={LENGTHS}"]
    place = {"cwd": folder / "mutants", "env": environment, "timeout": TIMEOUT}
    try:
        process = subprocess.run(words, capture_output=True, text=True, **place)
    except subprocess.TimeoutExpired:
        return True  # as mutmut counts it
    if process.returncode not in (0, 1):
        raise RuntimeError(f"The tests of {name} did not run: {process.stdout[-500:]}")
    return process.returncode == 1


def render(record):
    """The record as a page of Markdown."""
    reasons = mutant_reasons.read()
    rows, sections = [], []
    total = {"made": 0, "tested": 0, "killed": 0, "equivalent": 0}
    for module, part in record["modules"].items():
        explained = [(survivor, mutant_reasons.reason_of(survivor, reasons)) for survivor in part["survivors"]]
        tested = sum(part["counts"].values())
        equivalent = sum(reason is not None for _, reason in explained)
        numbers = (part["made"], tested, tested - len(explained), equivalent)
        total = {key: total[key] + value for key, value in zip(total, numbers, strict=True)}
        rows.append(_row(f"`{module}`", *numbers))
        sections += [
            "",
            f"## {module.capitalize()}",
            "",
            " ".join(filter(None, [f"{records.show_day(part)}.", _limit(part), part.get("note")])),
        ]
        by_reason = {}
        for survivor, reason in explained:
            by_reason.setdefault(reason or "Not explained: a test is missing.", []).append(survivor)
        for reason, survivors in sorted(by_reason.items(), key=lambda item: not item[0].startswith("Not")):
            sections += ["", *textwrap.wrap(f"**{reason[0].upper()}{reason[1:]}**", 120), ""]
            for survivor in survivors:
                name = survivor["name"].removeprefix("keras_mma.").replace("__mutmut_", " ").replace("x_", "", 1)
                change = " → ".join(f"`` {line[1:].strip()} ``" for line in survivor["change"])
                sections.append(f"- {name}: {change}")
    head = [
        *_HEAD.format(
            tests=_OTHER_DRAW if record.get("draw") else _FIRST_DRAW, commands="\n".join(_commands(record))
        ).splitlines(),
        "",
        *_drawn(record),
        f"{records.show_versions(record['versions'])}; on PyTorch, and survivors on TensorFlow too.",
        "",
        "| module | made | tested | killed | equivalent | score |",
    ]
    head.append("|---" * 6 + "|")
    missing = [f"`{module}`" for module in MODULES if module not in record["modules"]]
    rest = ["", f"Not run yet: {', '.join(missing)}."] if missing else []
    return "\n".join([*head, *rows, _row("all", *total.values()), *rest, *sections]) + "\n"


def _commands(record):
    """A command for the modules of each limit."""
    draw = record.get("draw", 0)
    by_limit = {}
    for module, part in record["modules"].items():
        by_limit.setdefault(part.get("limit"), []).append(module)
    for limit, modules in by_limit.items():
        words = ["python", "-m", "benchmarks.mutants"]
        words += [] if set(modules) == set(MODULES) else ["--modules", *modules]
        words += ["--limit", str(limit)] if limit else []
        words += ["--draw", str(draw)] if draw else []
        yield " ".join([*words, "--output", f"docs/results/{'mutants-second' if draw else 'mutants'}.json"])


def _limit(part):
    """The limit and the seed of the draw of a module, if its part of the record has them."""
    return f"`--limit {part['limit']} --draw {part['draw']}`." if "limit" in part else ""


def _drawn(record):
    """A paragraph on modules whose limits are not in the record."""
    unknown = {module: part for module, part in record["modules"].items() if "limit" not in part}
    tested = {module: sum(part["counts"].values()) for module, part in unknown.items()}
    drawn = [
        f"{tested[module]} of {part['made']} for `{module}`"
        for module, part in unknown.items()
        if tested[module] < part["made"]
    ]
    if not drawn:
        return []
    text = f"Of the mutants that were made, these were drawn: {', '.join(drawn)}"
    text += "; of other modules, all were tested. " if len(drawn) < len(unknown) else ". "
    text += "Limits other than 500 were given by hand (`--limit`) and not recorded: the command alone draws others."
    return [*records.wrapped(text), ""]


def _row(name, made, tested, killed, equivalent):
    return f"| {name} | {made} | {tested} | {killed} | {equivalent} | {100 * killed / (tested - equivalent):.1f} % |"


def main(arguments=None):
    """Run the mutants and write the record and the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--modules", nargs="*", choices=MODULES, default=list(MODULES), help="None: render the page only."
    )
    parser.add_argument("--again", action="store_true", help="Test only the survivors of the record.")
    parser.add_argument("--limit", type=int, default=500, help="Largest number of mutants of a module.")
    parser.add_argument("--draw", type=int, help="Seed of the draw of mutants: that of the record, or 0.")
    parser.add_argument("--workers", type=int, default=2, help="Number of processes.")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON file; the page is beside it.")
    options = parser.parse_args(arguments)
    record = json.loads(options.output.read_text()) if options.output.exists() else {"modules": {}}
    draw = record.setdefault("draw", options.draw or 0)
    if options.draw not in (None, draw):
        parser.error(f"--draw must be {draw}, that of the record. Received: --draw {options.draw}")
    if options.modules:
        record["versions"] = records.versions("mutmut", "pytest", "keras", "torch", "tensorflow")
    for module in options.modules:
        if options.again:
            part = mutate_again(module, options.workers, record["modules"][module])
        else:
            part = mutate(module, options.workers, options.limit, draw=draw)
            part |= {"limit": options.limit, "draw": draw}
        part |= records.stamp()
        record["modules"][module] = part
        print(f"{module}: {part['counts']}", flush=True)
        records.write_json(options.output, record)
    records.write(options.output.with_suffix(".md"), render(record))


if __name__ == "__main__":
    main()
