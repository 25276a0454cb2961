"""The list of public names in `docs/api.md` is complete, and each name is documented."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = re.findall(r"^`(keras_mma[.\w]*)`$", (ROOT / "docs" / "api.md").read_text(), re.M)
LISTED = re.findall(r"^\.\. auto\w+:: (keras_mma[.\w]+)$", (ROOT / "docs" / "api.md").read_text(), re.M)


def public_names(module):
    """The names in `__all__` that are no modules; names of the package itself are those of its modules."""
    module = importlib.import_module(module)
    return {f"{module.__name__}.{name}" for name in module.__all__ if not inspect.ismodule(getattr(module, name))}


def test_the_list_is_complete():
    assert len(MODULES) >= 5 and len(LISTED) == len(set(LISTED))
    assert {name for module in MODULES for name in public_names(module)} == set(LISTED)


def test_names_of_the_package_itself_are_those_of_its_modules():
    import keras_mma

    listed = {name.rpartition(".")[2]: name for name in LISTED}
    for name in public_names("keras_mma") - {"keras_mma.__version__"}:
        assert getattr(keras_mma, name.rpartition(".")[2]) is resolve(listed[name.rpartition(".")[2]])


@pytest.mark.parametrize("name", LISTED)
def test_a_public_name_is_documented(name):
    value = resolve(name)
    if callable(value):
        text = inspect.getdoc(value)
        assert text
        own = inspect.isfunction(value) or "__init__" in vars(value)
        parameters = inspect.signature(value).parameters if own and not issubclass_of_exception(value) else ()
        for parameter in parameters:
            assert re.search(rf"\b{parameter}\b", text), (name, parameter)
    else:  # data are documented by a comment that starts with #:
        module = importlib.import_module(name.rpartition(".")[0])
        assert any("#:" in source for source in sources_of(module, name.rpartition(".")[2])), name


@pytest.mark.parametrize("name", LISTED)
def test_a_public_name_is_annotated(name):
    """A function, and the constructor and the call of a class; those that are taken from Keras are Keras' own."""
    value = resolve(name)
    functions = [value] if inspect.isfunction(value) else []
    if inspect.isclass(value) and not issubclass_of_exception(value):
        functions = [vars(value)[method] for method in ("__init__", "__call__", "call") if method in vars(value)]
    for function in functions:
        parameters = inspect.signature(function).parameters.values()
        bare = [each.name for each in parameters if each.annotation is each.empty and each.name != "self"]
        assert not bare and "return" in function.__annotations__, (name, function.__name__, bare)


def resolve(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def issubclass_of_exception(value):
    return inspect.isclass(value) and issubclass(value, Exception)


def sources_of(module, name):
    """What stands before the assignment of a name, in the modules of the folder of a package."""
    for path in Path(module.__file__).parent.rglob("*.py"):
        for match in re.finditer(rf"((?:^#.*\n)*)^{name} = ", path.read_text(), re.M):
            yield match[1]
