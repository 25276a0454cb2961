"""Whether something mixes the labels by the plan of a mixer."""

import contextlib
import contextvars
import inspect

import keras

_PLAN_IS_FOLLOWED = contextvars.ContextVar("plan_is_followed", default=False)


@contextlib.contextmanager
def following_the_plan():
    """A context in which mixers may mix images without labels, because the caller mixes the labels."""
    token = _PLAN_IS_FOLLOWED.set(True)
    try:
        yield
    finally:
        _PLAN_IS_FOLLOWED.reset(token)


def check_followed(mixer):
    """Raise a `ValueError` if a mixer is about to mix images inside a model that loses its plan.

    Args:
        mixer: The `Mixer`, inside its `call`. Called by itself, outside a model, it may mix.
    """
    model = mixer._get_call_context().entry_layer
    if model is mixer or _PLAN_IS_FOLLOWED.get():
        return
    raise ValueError(
        f"{mixer.name!r} would mix images, and nothing would mix their labels: build a "
        "`MixModel(inputs, (outputs, plan))`, use `mixify`, or mix labelled batches before they reach the model. If "
        f"you mix the labels by the plan yourself, pass `requires_mix_model=False`. Received: training=True inside "
        f"{model.name!r}, which is no `MixModel`"
    )


def check_not_in_sequential(mixer):
    """Raise a `ValueError` if a mixer is called on symbolic images by a `Sequential` model.

    Args:
        mixer: The `Mixer`, inside its `compute_output_spec`.
    """
    # Nothing but the stack tells by whom a layer is called symbolically.
    callers = (frame.frame.f_locals.get("self") for frame in inspect.stack(context=0))
    model = next((caller for caller in callers if isinstance(caller, keras.Sequential)), None)
    if model is not None:
        raise ValueError(
            "A mixer cannot be a layer of a `Sequential` model, which has no place for its plan: build the model "
            "without it and use `mixify(model, mixer)`, or call the mixer on labelled batches. "
            f"Received: {mixer.name!r} in {model.name!r}"
        )
