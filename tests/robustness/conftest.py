"""One trained network for all tests of the report."""

import pytest


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """A network that reads digits, its images, and the folder of its SavedModel."""
    import keras

    from tests.robustness import networks

    if keras.backend.backend() != "tensorflow":
        pytest.skip("needs the tensorflow backend")
    model, dataset = networks.digits_network()
    path = tmp_path_factory.mktemp("digits") / "saved_model"
    model.export(path, verbose=False)
    return model, dataset, path
