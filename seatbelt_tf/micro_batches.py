"""Networks applied to a batch part by part, so that only one part's activations are held.

The images of a batch meet in batch normalisation, free bits and the total correlation, all of which
work on small tensors; what takes memory, the convolutions, treats every image alone. So the
convolutions alone are split: the rest sees the whole batch, and the gradient is that of the whole
batch, exactly. (Accumulating the gradients of whole micro-batches would change all three.)
"""

import tensorflow as tf


def apply(network, inputs, parts):
    """A network without state that treats every row alone: (M, …) -> (M, …), the same numbers.

    Activations are computed again for the gradient, one part at a time: a third more operations,
    memory for M / parts rows.

    Args:
        network: a built Keras model that does not change its own weights.
        inputs: (M, …) float32, M a multiple of `parts`.
        parts: number of parts.

    Returns:
        (M, …), as `network(inputs)`.
    """
    if parts == 1:
        return network(inputs, training=True)

    def compute(weights, part):
        return network.stateless_call(weights, fixed, part, training=True)[0]

    def split(tensor):
        return tf.reshape(tensor, tf.concat([[parts, -1], tf.shape(tensor)[1:]], axis=0))

    def merge(tensor):
        return tf.reshape(tensor, tf.concat([[-1], tf.shape(tensor)[2:]], axis=0))

    @tf.custom_gradient
    def whole(inputs, *weights):
        pieces = split(inputs)
        outputs = merge(
            tf.map_fn(
                lambda piece: compute(weights, piece),
                pieces,
                parallel_iterations=1,
                fn_output_signature=network.outputs[0].dtype,
            )
        )

        def gradient(upstream):
            upstreams = split(upstream)

            def add_part(part, by_inputs, *by_weights):
                piece = pieces[part]
                with tf.GradientTape() as tape:
                    tape.watch((piece, *weights))
                    computed = compute(weights, piece)
                own, *others = tape.gradient(computed, (piece, *weights), upstreams[part])
                sums = [total + other for total, other in zip(by_weights, others, strict=True)]
                return part + 1, by_inputs.write(part, own), *sums

            start = (0, tf.TensorArray(inputs.dtype, parts), *map(tf.zeros_like, weights))
            _, by_inputs, *by_weights = tf.while_loop(
                lambda part, *_: part < parts, add_part, start, parallel_iterations=1
            )
            return by_inputs.concat(), *by_weights

        return outputs, gradient

    fixed = [tf.convert_to_tensor(variable.value) for variable in network.non_trainable_variables]
    weights = [tf.convert_to_tensor(variable.value) for variable in network.trainable_variables]
    outputs = whole(inputs, *weights)
    return tf.ensure_shape(outputs, (inputs.shape[0], *network.output_shape[1:]))
