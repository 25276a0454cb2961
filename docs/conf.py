"""The site: `make docs` builds it without a network, with warnings as errors."""

import inspect
import re
from pathlib import Path

import keras

from keras_mma._version import __version__

project = "keras_mma"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
root_doc = "index"
html_theme = "furo"
html_title = "keras_mma"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_show_copyright = False
default_role = "code"
exclude_patterns = ["_build", "contents.md"]  # a part of the first page
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
napoleon_custom_sections = [("Call arguments", "params_style"), ("References", "notes_style")]
napoleon_use_ivar = True
napoleon_use_rtype = False  # the colon in a sentence is not the end of a type
autodoc_member_order = "bysource"
autodoc_typehints = "none"
ROOT = Path(__file__).parents[1]
# Pages of the repository that are pages of the site.
_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
_PAGES |= {"SECURITY.md": "security.md"}


def rewrite_links(app, docname, source):
    """Point links to pages of the repository at pages of the site; files that the site lacks become plain text."""
    depth = docname.count("/")

    def rewrite(match):
        text, path, anchor = match[1], match[2], match[3] or ""
        target = ((ROOT / "docs" / docname).parent / path).resolve()
        if not target.is_relative_to(ROOT):
            return match[0]
        inside = target.relative_to(ROOT).as_posix()
        if inside in _PAGES:
            return f"[{text}]({'../' * depth}{_PAGES[inside]}{anchor})"
        is_page = inside.startswith("docs/") and (target.suffix == ".md" or target.suffix == ".png")
        return match[0] if is_page else text

    source[0] = re.sub(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:)([^)#\s]+)(#[^)]*)?\)", rewrite, source[0])
    # Code that is marked for one backend, ```python tensorflow, is Python for the highlighter.
    source[0] = re.sub(r"^```(\w+) [^\n{]+$", r"```\1", source[0], flags=re.M)


def copy_pages(app):
    """Write the pages of the repository's root into the source folder, with links as seen from there."""
    for name, page in _PAGES.items():
        text = (ROOT / name).read_text()
        text = re.sub(r"\]\((?!https?:|#)(docs/)?", lambda m: "](" if m[1] else "](../", text)
        if page == "index.md":
            text += "\n" + (ROOT / "docs" / "contents.md").read_text()
        target = Path(app.srcdir) / page
        if not target.exists() or target.read_text() != text:
            target.write_text(text)


def write_llms(app, error):
    """Write all pages as one plain text, `llms.txt`, for language models."""
    if error is not None or app.builder.name != "html":
        return
    pages = sorted(app.env.found_docs, key=lambda name: (name != "index", name.count("/"), name))
    texts = [(Path(app.srcdir) / f"{name}.md").read_text() for name in pages if name != "api"]
    texts[0] = texts[0].partition("```{toctree}")[0].rstrip() + "\n"  # of the first page
    summary = "Keras 3 layers that mix training images and feature maps by saliency, with labels mixed to match."
    content = "\n\n".join([f"# keras_mma {version}\n\n> {summary}", *texts])
    (Path(app.outdir) / "llms.txt").write_text(content)


def show_signature(app, what, name, obj, options, signature, returns):
    """The signature of the constructor: that of `keras.layers.Layer.__new__` says nothing."""
    if what != "class" or not issubclass(obj, keras.Layer):
        return None
    parameters = list(inspect.signature(obj.__init__).parameters.values())[1:]
    return str(inspect.Signature(parameters)), returns


def inherit_sections(app, what, name, obj, options, lines):
    """Complete the docstring of a layer by the arguments and sections that only that of its base class has."""
    bases = [cls for cls in getattr(obj, "__mro__", ())[1:] if cls.__module__.startswith("keras_mma.layers.")]
    if what != "class" or not bases:
        return
    own, inherited = sections_of(lines), sections_of(inspect.getdoc(bases[0]).splitlines())
    named = {argument for text in own["Args:"] for argument in re.findall(r"^    (\w+):", text)}
    kept = [text for text in own["Args:"] if not text.startswith("    **kwargs:")]
    added = [text for text in inherited["Args:"] if re.match(r"    (\*\*)?(\w+)", text)[2] not in named]
    merged = {**inherited, **own, "Args:": kept + added}
    titles = ("", "Args:", "Call arguments:", "Returns:", "Raises:", "Example:", "References:")
    lines[:] = "\n\n".join(
        "\n".join([title] * bool(title) + merged[title]) for title in titles if merged.get(title)
    ).splitlines()


def sections_of(lines):
    """The sections of a docstring by title, each a list of entries; the entry of an argument has all its lines."""
    sections, title = {"": []}, ""
    for line in lines:
        if in_section([line]):
            title = line
            sections[title] = []
        elif title and not re.match(r"    \S", line) and sections[title]:
            sections[title][-1] += f"\n{line}"
        else:
            sections[title].append(line)
    return {title: [entry.rstrip() for entry in entries] for title, entries in sections.items()}


def to_rst(app, what, name, obj, options, lines):
    """Turn what is Markdown in docstrings into reStructuredText: formulas are indented, `|F|` is a norm."""
    if what == "data":  # the value is shown; the docstring is that of its type
        lines.clear()
    in_formula, converted = False, []
    for number, line in enumerate(lines):
        is_indented = line.startswith("    ") and not in_section(lines[:number])
        if is_indented and not in_formula and not lines[number - 1].strip():
            converted += ["::", ""]
        in_formula = is_indented or (in_formula and not line.strip())
        if not in_formula and not line.lstrip().startswith(">>>"):
            line = re.sub(r"`` `(\w+)` ``", r"``\1``", line)
            line = re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", line).replace("|", r"\|")
        converted.append(line)
    lines[:] = converted


def in_section(lines):
    """Whether a section such as `Args:` has begun."""
    return any(re.fullmatch(r"[A-Z][a-z]+( [a-z]+)?:", line) for line in lines)


def setup(app):
    # Before napoleon, which has the default priority of 500.
    app.connect("autodoc-process-docstring", inherit_sections, priority=300)
    app.connect("autodoc-process-docstring", to_rst, priority=400)
    app.connect("autodoc-process-signature", show_signature)
    app.connect("builder-inited", copy_pages)
    app.connect("source-read", rewrite_links)
    app.connect("build-finished", write_llms)
