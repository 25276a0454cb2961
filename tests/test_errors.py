"""Every error and warning of the package says what was expected and what was received."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = [*sorted((ROOT / "keras_mma").rglob("*.py")), ROOT / "keras_mma_command.py"]
# Errors whose names do not end in "Error".
OTHERS = {"NotRepeatable", "DamagedFile"}
# What a message must hold instead of "Received: ", with the reason.
INSTEAD = {
    r"first_line\(": "it names the file or option, and quotes the error of the library that read it",
    r"pip install": "something is not installed, and the message says how to install it",
    r"choose another": "it names the file or folder, what it holds, and what to do",
}
# Beginnings of messages that need neither, with the reason.
ALLOWED = {
    "{type(self).__name__} must implement": "it is read by the author of the class",
    "{moving} move pixels at random after": "a warning that names the layers and what to do",
    "{cropping} cut off a part of what": "a warning that names the layers and what to do",
    "The loss {nonlinear} is not linear in the label": "a warning that names the losses and what to use",
    "The metrics {misleading} take labels of 0 and 1": "a warning that names the metrics and what to use",
    "{model.name!r} is mixed at the input only": "a warning that names the model, the reason and what to do",
    "an operation between the pixels and the outputs has none": "it ends a sentence of the report on gradients",
    "infinitely many images": "it is quoted by the error of the caller",
    "damaged": "it is caught by the caller, which measures again",
    "{path} is a damaged report: {wrong}": "it names what is wrong and where",
    "{text} is not JSON": "it is quoted by the error of the caller",
    "`output` {self.path} has a damaged {MARKER}": "it quotes the error of this package about the file",
    "{path} is damaged: {wrong}": "it names what is wrong and where",
    "{record_path(folder, cell)} is the record of another training": "it names what differs, and what to do",
    "the report of {report['model']['path']} is damaged": "it names the report",
    "{other} and {name} are not comparable": "it names both values",
    "two identical calls of the model on": "it says by how much they differ, and what to look for",
    "{error}; delete the file": "it quotes the error of this package about the file",
    "{name} failed: ": "it quotes the error of the training",
    "{files.full_disk(folder)} (": "it names the folder and what to do",
    "errno.ENOSPC": "it is the error of a full disk, as the system raises it",
    "{name} is outside of the folder": "it is quoted by the error of the caller",
    "a worker has ended, perhaps for lack of memory": "it names the likely cause and what to do",
    "the evaluation took longer than": "it names the limit and what to do",
    "the evaluation {how}: if memory was short, allow": "it names the limit that may be the cause",
    "str(error)": "it is an error of this package, passed on",
}


def raised():
    """(place, name of the class, source of the message with the names that were assigned to in the function)."""
    for path in FILES:
        tree = ast.parse(path.read_text())
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for function in functions:
            texts = {
                target.id: ast.unparse(node.value)
                for node in ast.walk(function)
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            for node in ast.walk(function):
                call = node.exc if isinstance(node, ast.Raise) else node
                if not isinstance(call, ast.Call) or not call.args:
                    continue
                name = ast.unparse(call.func)
                is_error = isinstance(node, ast.Raise) and (name.endswith("Error") or name in OTHERS)
                if is_error or name == "warnings.warn":
                    message = ast.unparse(call.args[0])
                    for used in re.findall(r"\{(\w+)\}", message) + [message]:
                        message += f" {texts[used]}" if used in texts and used != "error" else ""
                    yield f"{path.relative_to(ROOT)}:{call.lineno}", name, message


MESSAGES = sorted(set(raised()))


def plain(message):
    """A message without the quotes of its source."""
    return re.sub(r"^f?(\"|')", "", message)


def test_messages_are_collected():
    assert len(MESSAGES) > 250
    assert {name for _, name, _ in MESSAGES} >= {"ValueError", "InputError", "warnings.warn", *OTHERS}


def test_every_message_says_what_was_received():
    """Or it stands in a list above, with the reason."""
    silent = [
        f"{place}: {message}"
        for place, _, message in MESSAGES
        if not re.search("|".join(["Received:? ", *INSTEAD]), message)
        and not any(plain(message).startswith(beginning) for beginning in ALLOWED)
    ]
    assert silent == []


def test_every_message_says_what_was_expected():
    words = (
        r"\b(must|needs?|requires?|required|cannot|appl(y|ies)|expect(s|ed)|would|no argument|no effect|unknown|takes|"
        r"in use|does not)\b"
    )
    unclear = [
        f"{place}: {message}"
        for place, _, message in MESSAGES
        if re.search("Received:? ", message) and not re.search(words, re.sub(r"Received:? [^\"]*", "", message))
    ]
    assert unclear == []


def test_the_list_of_exceptions_has_no_entry_without_use():
    messages = [plain(message) for _, _, message in MESSAGES if "Received: " not in message]
    for beginning in ALLOWED:
        assert any(message.startswith(beginning) for message in messages), beginning
    for pattern in INSTEAD:
        assert any(re.search(pattern, message) for message in messages), pattern
