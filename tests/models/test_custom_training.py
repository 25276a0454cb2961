"""The training loops of `docs/custom_training.md` run, each on its backend, and train on mixed labels."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "custom_training.md"


def code_of(backend):
    """The code of the page that a reader on one backend runs, from top to bottom."""
    blocks = re.findall(r"```python(?: (\w+))?\n(.*?)```", PAGE.read_text(), re.S)
    assert {name for name, _ in blocks} == {"", "tensorflow", "jax", "torch"}
    return "\n".join(code for name, code in blocks if name in ("", backend))


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_the_loop_of_the_backend_trains():
    backend = keras.backend.backend()
    lines = code_of(backend)
    lines = lines.replace("optimizer.build(", "before = model.get_weights()\noptimizer.build(")
    names = {"__name__": "__page__"}
    exec(compile(lines, str(PAGE), "exec"), names)
    assert np.isfinite(keras.ops.convert_to_numpy(names["value"]))
    model, before = names["model"], names["before"]
    changed = [not np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True)]
    assert sum(changed) >= len(model.trainable_variables)
    # Two batches were drawn: one number each for partners, lam and the box, and the site.
    assert keras.ops.convert_to_numpy(model.mixer.seed_generator.state)[1] >= 4
