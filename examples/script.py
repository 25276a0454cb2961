"""How the scripts end: an error of the user, or an interruption, is one line."""

import sys
from pathlib import Path

from keras_mma.terminal import printable, show


def run(main, in_words=str):
    """Call the main function of a script.

    Args:
        main: A function without arguments.
        in_words: Function from an error to its message.
    """
    name = Path(sys.argv[0]).name
    try:
        main()
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except (ValueError, OSError) as error:
        show(f"{name}: error: {printable(in_words(error))}", error=True)
        raise SystemExit(1) from None
