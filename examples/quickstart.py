"""Train a small network on handwritten digits with SaliencyMix and MMA, in less than a minute on two cores.

    python examples/quickstart.py

printed a test accuracy of 0.9689 on TensorFlow.
"""

import keras
from keras import layers

import keras_mma
from keras_mma import datasets

data = datasets.load("digits")  # uint8 images of 16 x 16 pixels and integer labels
train_x, train_y = data.train.arrays()
test_x, test_y = data.test.arrays()

# Any Functional or Sequential network with one image input will do.
keras.utils.set_random_seed(0)
network = keras.Sequential([keras.Input(data.train.shape), layers.Rescaling(1 / 255)])
for filters in (32, 64):
    network.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
    network.add(layers.MaxPooling2D(name=f"block_{filters}"))
network.add(layers.Flatten())
network.add(layers.Dense(data.train.classes))

# The same layers and weights, mixed at the input or after one of the blocks in each training step.
model = keras_mma.mixify(network, keras_mma.layers.SaliencyMix(seed=0), at=["block_32", "block_64"])
model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(train_x, train_y, batch_size=64, epochs=20, validation_data=data.validation.arrays(), verbose=2)

# Outside of training nothing is mixed, and `network` has learned what `model` has.
_, accuracy = model.evaluate(test_x, test_y, verbose=0)
print(f"test accuracy: {accuracy:.4f}")
