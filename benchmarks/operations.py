"""The floating point operations of a function, counted rather than timed."""

import keras


def count(function, *arrays):
    """The number of floating point operations of a call, as the backend counts those of the traced function.

    Args:
        function: A function of tensors.
        *arrays: NumPy arrays. Nothing is computed from their values.

    Returns:
        An int. TensorFlow counts convolutions, matrix products and elementary operations, and not those of functions
        that are compiled by XLA on their own; a multiplication with an addition are two operations.

    Raises:
        NotImplementedError: On PyTorch.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return int(jax.jit(function).lower(*arrays).cost_analysis()["flops"])
    if backend != "tensorflow":
        raise NotImplementedError(f"Operations are counted on tensorflow and jax. Received: {backend!r}")
    import tensorflow as tf

    specs = [tf.TensorSpec(array.shape, array.dtype) for array in arrays]
    traced = tf.function(function, autograph=False).get_concrete_function(*specs).graph
    # TensorFlow runs what the outputs depend on only: gradients of weights that nobody uses are in the graph.
    outputs = [tensor.op.name for tensor in traced.outputs]
    needed = tf.compat.v1.graph_util.extract_sub_graph(traced.as_graph_def(add_shapes=True), outputs)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(needed, name="")
    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    options = builder(builder.float_operation()).with_empty_output().build()
    return tf.compat.v1.profiler.profile(graph, options=options).total_float_ops


def count_step(network, images):
    """The operations of a training step: the predictions, and the gradient of a loss with respect to all weights.

    Args:
        network: A functional network.
        images: NumPy array (batch, height, width, channels).
    """
    weights = network.trainable_variables
    backend = keras.backend.backend()

    def loss(predictions):
        return sum(keras.ops.sum(keras.ops.square(head)) for head in keras.tree.flatten(predictions))

    if backend == "jax":
        import jax

        fixed = [variable.value for variable in network.non_trainable_variables]

        def step(x, *values):
            return jax.grad(lambda v: loss(network.stateless_call(list(v), fixed, x, training=True)[0]))(values)

        return count(step, images, *(keras.ops.convert_to_numpy(variable) for variable in weights))
    import tensorflow as tf

    def step_of_tensorflow(x):
        with tf.GradientTape() as tape:
            value = loss(network(x, training=True))
        return tape.gradient(value, [variable.value for variable in weights])

    return count(step_of_tensorflow, images)
