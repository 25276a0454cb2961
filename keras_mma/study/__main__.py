"""`python -m keras_mma.study`, which is `keras-mma study`."""

import sys

from keras_mma import cli


def main(words=None):
    """Run the command; errors of the user exit with 2 and one line."""
    cli.main(["study", *(sys.argv[1:] if words is None else words)])


if __name__ == "__main__":
    main()
