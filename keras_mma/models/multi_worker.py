"""What the TensorFlow trainer of Keras lacks for several replicas, such as `tf.distribute.MultiWorkerMirroredStrategy`.

Keras 3 builds models and reports results as if all replicas were in one process, and `fit` fails on several workers
(keras-team/keras#20585). The overrides below make it work; without a strategy, they do nothing.
`_maybe_symbolic_build` is private: there is no public hook between the first batch and the building of the metrics.
"""

import keras


class MultiWorkerTraining:
    """A mixin, placed before `keras.Model`, that makes `fit` and `evaluate` work on several workers."""

    if keras.backend.backend() == "tensorflow":

        def _maybe_symbolic_build(self, iterator=None, data_batch=None):
            if iterator is not None and self._distribute_strategy is not None:
                # The trainer would average the batch over the replicas, which fails for replicas of other processes and
                # converts integer labels to floats. The part of any replica has the right shapes and dtypes.
                _, _, batches = next(iter(iterator))
                local = self.distribute_strategy.experimental_local_results
                iterator, data_batch = None, keras.tree.map_structure(lambda x: local(x)[0], next(batches))
            super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)

        def train_step(self, *args, **kwargs):
            return self._with_batch_axis(super().train_step(*args, **kwargs))

        def test_step(self, *args, **kwargs):
            return self._with_batch_axis(super().test_step(*args, **kwargs))

        def _with_batch_axis(self, logs):
            """The trainer averages the logs of several workers over a first axis, which scalars do not have."""
            if not _is_multi_worker(self.distribute_strategy):
                return logs
            return keras.tree.map_structure(lambda value: keras.ops.expand_dims(value, 0), logs)


def _is_multi_worker(strategy):
    import tensorflow as tf

    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and strategy.extended._in_multi_worker_mode()
