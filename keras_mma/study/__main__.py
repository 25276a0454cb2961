"""`python -m keras_mma.study`, which is `keras-mma study`."""

import argparse
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from keras_mma.errors import InputError, with_flags  # noqa: E402
from keras_mma.study import command  # noqa: E402


def main(words=None):
    """Run the command; errors of the user exit with 2 and one line."""
    parser = argparse.ArgumentParser(prog="python -m keras_mma.study", **command.formatting())
    command.add_arguments(parser)
    options = vars(parser.parse_args(words))
    try:
        command.run(**options)
    except (InputError, OSError) as error:
        print(f"keras-mma: error: {' '.join(with_flags(str(error), options).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("\nkeras-mma: interrupted; the same command resumes", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
