"""Functions of batches, traced once whatever the batch's size."""

import tensorflow as tf


class Compiled:
    """A function of nested tensors of shape (B, …) or () that is traced once, for any B.

    A `tf.function` would be traced anew for other B, and TensorFlow warns when several objects of
    one class bring such functions.
    """

    def __init__(self, function):
        self._function = tf.function(function, autograph=False)
        self._concrete = None

    def __call__(self, *arguments):
        arguments = tf.nest.map_structure(tf.convert_to_tensor, arguments)
        if self._concrete is None:
            specs = tf.nest.map_structure(_for_any_batch, arguments)
            self._concrete = self._function.get_concrete_function(*specs)
        return self._concrete(*arguments)


def _for_any_batch(tensor):
    shape = tensor.shape
    return tf.TensorSpec([None, *shape[1:]] if shape.rank else [], tensor.dtype)
