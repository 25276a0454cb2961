"""The few things that differ between backends and have no `keras.ops` name."""

import keras


def replica_id():
    """The number of this replica under `tf.distribute`, and 0 wherever there is only one.

    Returns:
        A Python int, or a scalar int32 tensor inside a replica of a multi-replica strategy.
    """
    if keras.backend.backend() != "tensorflow":
        # JAX draws for the whole sharded batch at once: there is one stream of numbers.
        return 0
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return 0
    return context.replica_id_in_sync_group
