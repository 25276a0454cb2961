"""Arms of a study: a method with its arguments, in one line of text.

    none
    saliencymix(alpha=0.5, probability=1)
    saliencymix+mma(temperature=1, combine=multiply, sites=0-1-2, at=stage1-stage2)
    soft=saliencymix+mma(temperature=1)

The text is parsed, never evaluated.
"""

import ast
import dataclasses
import difflib
import json
import tomllib
from pathlib import Path

from keras_mma.errors import InputError, first_line
from keras_mma.terminal import printable

SPELLING = (
    "METHOD, METHOD(ARGUMENT=VALUE, ...) or MIXER(...)+mma(...), with an optional name before it, as in "
    "NAME=MIXER+mma(temperature=1). Values are numbers, True, False, None, words such as add, and lists such as 0-1-2 "
    "or stage1-stage2. Arguments in the parentheses of a mixer are its own. mma takes those of FeatureMixAdapt, at "
    "(names of the layers after which features are mixed), sites (0 is the input, 1 the first of at) and site_weights "
    "(how often each site fires). MIXER+naive uses the mixer's mask as it is"
)
#: Suffixes of a mixer and their arguments of `FeatureMixAdapt`.
ADAPTATIONS = {"mma": {}, "naive": {"attention": None, "smooth": False, "resize": "nearest"}}

# Arguments of every layer that a study sets itself; a seed of an arm would be the same in all of its training runs.
_OF_STUDY = ("seed", "name", "dtype", "trainable")
# Arguments of `FeatureMixAdapt` that change nothing without another one: without the softmax, and without an attention.
_IGNORED = {"smooth": (False, ("temperature",)), "attention": (None, ("combine", "attention_spread"))}


@dataclasses.dataclass(frozen=True)
class Arm:
    """A method with its arguments.

    Args:
        name: What tables and figures call it.
        method: A method of the recipe, such as `"cutmix+mma"`.
        mixer_arguments: Dict of arguments of the mixer.
        adapt_arguments: Dict of arguments of every `FeatureMixAdapt`.
        mixing_points: Names of the layers after which features are mixed; `None` for those of the recipe.
    """

    name: str
    method: str
    mixer_arguments: dict = dataclasses.field(default_factory=dict)
    adapt_arguments: dict = dataclasses.field(default_factory=dict)
    mixing_points: tuple | None = None

    def settings(self):
        """The settings of a recipe that the arm replaces."""
        settings = {name: value for name, value in dataclasses.asdict(self).items() if name != "name"}
        return {name: value for name, value in settings.items() if value is not None}


def parse(text):
    """The `Arm` that a line of text spells.

    Args:
        text: See the head of this module.

    Returns:
        An `Arm`. Its name is that in the text, or else the text without spaces.

    Raises:
        InputError: if the text spells no arm. Whether the method exists and takes the arguments is left to the recipe.

    Example:

    >>> arm = parse("soft=saliencymix(alpha=0.5)+mma(temperature=1, at=stage1-stage2, sites=1-2)")
    >>> arm.name, arm.method, arm.mixing_points
    ('soft', 'saliencymix+mma', ('stage1', 'stage2'))
    >>> arm.mixer_arguments, arm.adapt_arguments
    ({'alpha': 0.5, 'sites': (1, 2)}, {'temperature': 1})
    """
    text = "".join(text.split())
    name, spelling = text, text
    head, equals, rest = text.partition("=")
    if equals and "(" not in head:
        name, spelling = head, rest
    if not name:
        raise InputError(f"`methods` must have a name before =. Received: {text}")
    try:
        parts = _flatten(ast.parse(spelling, mode="eval").body, ast.Add)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"`methods` must be written as {SPELLING}. Received: {text}") from None
    if len(parts) > 2:
        raise InputError(f"`methods` must have at most one + outside its parentheses. Received: {text}")
    mixer, mixer_arguments = _call(parts[0], text)
    if len(parts) == 1:
        return Arm(name, mixer, mixer_arguments)
    adaptation, adapt_arguments = _call(parts[1], text)
    if adaptation not in ADAPTATIONS:
        raise InputError(f"`methods` must have +{' or +'.join(ADAPTATIONS)} after a mixer. Received: {text}")
    at = adapt_arguments.pop("at", None)
    for key in ("sites", "site_weights"):
        if key in adapt_arguments:
            mixer_arguments[key] = adapt_arguments.pop(key)
    whole = ADAPTATIONS[adaptation] | adapt_arguments
    for key, (value, names) in _IGNORED.items():
        ignored = [name for name in names if name in adapt_arguments]
        if ignored and key in whole and whole[key] is value:
            raise InputError(
                f"`methods` must not have {', '.join(ignored)} with {key}={value}, which makes it meaningless. "
                f"Received: {text}"
            )
    return Arm(
        name,
        f"{mixer}+mma",
        mixer_arguments,
        whole,
        at if at is None or isinstance(at, tuple) else (at,),
    )


def read_file(path):
    """The arms of a TOML or JSON file, a table from names to spellings.

        mixer = "saliencymix"
        soft = "saliencymix+mma(temperature=1)"

    Args:
        path: A file whose name ends in `.toml` or `.json`.

    Returns:
        A list of `Arm`s.

    Raises:
        InputError: if the file cannot be read or holds anything else.
    """
    path = Path(path)
    if path.suffix not in (".toml", ".json"):
        raise InputError(f"`arms` must be a .toml or a .json file. Received: {path}")
    try:
        table = (tomllib.loads if path.suffix == ".toml" else json.loads)(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"`arms` {path} cannot be read: {first_line(error)}") from error
    if not isinstance(table, dict) or not table or not all(isinstance(value, str) for value in table.values()):
        raise InputError(f"`arms` {path} must be a table from names to arms, each a text. Received: {table!r:.100}")
    for name in table:
        if not name.strip() or printable(name) != name:
            raise InputError(
                f"`arms` {path} must have names of visible characters in one line. Received: {name!r:.100}"
            )
    try:
        arms = [parse(spelling) for spelling in table.values()]
    except InputError as error:
        raise InputError(str(error).replace("`methods`", f"`arms` {path}")) from None
    return [dataclasses.replace(arm, name=name) for name, arm in zip(table, arms, strict=True)]


def check(arms, baseline, methods):
    """Refuse arms that cannot be compared.

    Args:
        arms: List of `Arm`s.
        baseline: Name of the arm with which the others are compared.
        methods: The methods of the recipe.

    Raises:
        InputError: if a method is unknown or sets an argument that the study sets, two arms have the same name, there
            is nothing to compare, or the baseline is not among the arms.
    """
    for arm in arms:
        if arm.method not in methods:
            close = difflib.get_close_matches(arm.method, methods, 1)
            hint = f"did you mean {close[0]}?" if close else f"known methods are {', '.join(methods)}."
            raise InputError(f"`methods` has the unknown method {arm.method}; {hint} Received: {arm.name}")
        for name in _OF_STUDY:
            if name in arm.mixer_arguments or name in arm.adapt_arguments:
                raise InputError(f"`methods` must not set {name}, which the study sets. Received: {arm.name}")
    names = [arm.name for arm in arms]
    alike = [name.casefold() for name in names]  # some file systems do not distinguish upper and lower case
    for name in names:
        if alike.count(name.casefold()) > 1:
            raise InputError(
                f"`methods` must have different names, also in lower case. Received: {name} more than once"
            )
    if len(names) < 2:
        raise InputError(f"`methods` must name at least two, the baseline included. Received: {', '.join(names)}")
    if baseline not in names:
        raise InputError(f"`baseline` must be one of {', '.join(names)}. Received: baseline={baseline}")


def _call(node, text):
    """The name and the arguments of `name` or `name(argument=value, ...)`."""
    if isinstance(node, ast.Name):
        return node.id, {}
    if isinstance(node, ast.Constant) and node.value is None:
        return "None", {}
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
        raise InputError(f"`methods` must be written as {SPELLING}. Received: {text}")
    arguments = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise InputError(f"`methods` must name its arguments. Received: {text}")
        arguments[keyword.arg] = _value(keyword.value, keyword.arg, text)
    return node.func.id, arguments


def _value(node, argument, text):
    """A literal, a word, or a list whose items are separated by minus signs."""
    if isinstance(node, ast.Name):
        return {"true": True, "false": False, "none": None}.get(node.id, node.id)
    items = _flatten(node, ast.Sub)
    if len(items) > 1:
        return tuple(_value(item, argument, text) for item in items)
    try:
        value = ast.literal_eval(node)
        json.dumps(value)  # as in the plan: no sets, no ellipsis
        return value
    except (ValueError, TypeError):
        raise InputError(
            f"`methods` must have a number, a word or a list such as 0-1-2 as {argument}. Received: {text}"
        ) from None


def _flatten(node, operator):
    """The operands of a chain of one operator."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, operator):
        return [*_flatten(node.left, operator), *_flatten(node.right, operator)]
    return [node]
