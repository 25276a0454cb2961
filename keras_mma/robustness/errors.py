"""What is wrong with what the user gave, in one line."""


class InputError(ValueError):
    """A model, a data set, an option or a report that cannot be used. The command prints it and exits with 2."""


def first_line(error):
    """The first line of another library's error that says something, for an error of one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
