"""Tables in LaTeX."""

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
}


def table(head, rows):
    """A LaTeX table of texts, in the style of the package `booktabs`."""

    def line(texts):
        escaped = ("".join(_ESCAPES.get(character, character) for character in text.replace("`", "")) for text in texts)
        return " & ".join(escaped) + r" \\"

    columns = "l" * len(head)
    body = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", line(head), r"\midrule", *map(line, rows)]
    return "\n".join([*body, r"\bottomrule", r"\end{tabular}"])
