"""What a server answers: for every signature a checked function from named to named tensors.

A graph has no exceptions to stop it before the network: what a request got wrong must fail in an
operation that everything else waits for. A convolution that meets another rank does not fail, it
ends the whole server process (a CHECK in its kernel, TensorFlow 2.21).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from export import image_bytes as encoded_images
from seatbelt_tf import by_row, pixels

DEFAULT = "encode"
# Far above any posterior's mean, far below what would overflow in the decoder.
LATENT_LIMIT = 1e6


class Signature(NamedTuple):
    """One endpoint.

    Attributes:
        inputs: dict of input name to `tf.TensorSpec`, the batch first.
        limits: dict of input name to the largest absolute value accepted, for the floats.
        answer: function of the checked inputs, by keyword, to a dict of outputs.
    """

    inputs: dict[str, tf.TensorSpec]
    limits: dict[str, float]
    answer: Callable

    def __call__(self, inputs):
        """The answer to a dict of inputs, after all checks."""
        return self.answer(**_checked(inputs, self))


def of_model(model, recipe):
    """The signatures of a model, by name.

    Args:
        model: a `SeatbeltVAE`.
        recipe: the preprocessing of encoded images, see `image_bytes.recipe_of`.

    Returns:
        dict of name to `Signature`.
    """
    images = {"images": tf.TensorSpec([None, *model.image_shape], tf.float32)}
    latents = {
        f"latent_{layer}": tf.TensorSpec([None, units], tf.float32)
        for layer, units in enumerate(model.latent_dims, 1)
    }
    seed = {"seed": tf.TensorSpec([None, 2], tf.int32)}
    encoded = {"image_bytes": tf.TensorSpec([None], tf.string)}
    pixel_limit = {"images": 1 + pixels.RANGE_TOLERANCE}

    @_two_rows_at_least
    def encode(images):
        posteriors = model.posteriors(images)
        outputs = {"embedding": model.embedding(posteriors)}
        for layer, (mean, stddev) in enumerate(posteriors, 1):
            outputs |= {f"mean_{layer}": mean, f"stddev_{layer}": stddev}
        return outputs

    @_two_rows_at_least
    def reconstruct(images):
        return {"reconstruction": model(images, training=False)}

    @_two_rows_at_least
    def decode(**latents):
        return {"reconstruction": model.decode(tuple(latents.values()))}

    @_two_rows_at_least
    def score(images, seed):
        return by_row.score(model, images, seed)._asdict()

    @_two_rows_at_least
    def sample(seed):
        return {"sample": by_row.sample(model, seed)}

    def encode_image_bytes(image_bytes):
        return encode(images=encoded_images.decode(image_bytes, recipe))

    def reconstruct_image_bytes(image_bytes):
        return reconstruct(images=encoded_images.decode(image_bytes, recipe))

    return {
        "encode": Signature(images, pixel_limit, encode),
        "reconstruct": Signature(images, pixel_limit, reconstruct),
        "decode": Signature(latents, dict.fromkeys(latents, LATENT_LIMIT), decode),
        "score": Signature(images | seed, pixel_limit, score),
        "sample": Signature(seed, {}, sample),
        "encode_image_bytes": Signature(encoded, {}, encode_image_bytes),
        "reconstruct_image_bytes": Signature(encoded, {}, reconstruct_image_bytes),
    }


def write(signatures, directory):
    """Writes a SavedModel with these signatures; `DEFAULT` is serving_default as well.

    Args:
        signatures: see `of_model`.
        directory: an existing or new directory.
    """
    archive = keras.export.ExportArchive()
    for name in (DEFAULT, *(name for name in signatures if name != DEFAULT)):
        signature = signatures[name]
        specs = {
            key: tf.TensorSpec(spec.shape, spec.dtype, name=key)
            for key, spec in signature.inputs.items()
        }
        archive.add_endpoint(name, signature.__call__, [specs])
    # Nobody trains through a served model: no operations of custom gradients.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    archive.write_out(str(directory), options=options, verbose=False)


def _two_rows_at_least(answer):
    """`answer` with a single row computed twice and given once.

    Products with a one-row matrix take other kernels, which round otherwise: a row would differ
    from itself in a batch by more than 1e-6.
    """

    @functools.wraps(answer)
    def padded(**inputs):
        rows = tf.shape(next(iter(inputs.values())))[0]
        places = tf.minimum(tf.range(tf.maximum(rows, 2)), rows - 1)
        outputs = answer(**{name: tf.gather(value, places) for name, value in inputs.items()})
        return {name: value[:rows] for name, value in outputs.items()}

    return padded


def _checked(inputs, signature):
    """The inputs, available only after every one has passed every check."""
    # Ranks first: nothing below may meet a wrong one.
    shaped = {name: tf.ensure_shape(inputs[name], s.shape) for name, s in signature.inputs.items()}
    rows = [tf.shape(value)[0] for value in shaped.values()]
    asserted = [
        tf.debugging.Assert(
            tf.reduce_all(tf.stack(rows) == rows[0]) & (rows[0] > 0),
            [
                "Invalid batch. Expected as many rows, one at least, in each of",
                ", ".join(shaped),
                "Received",
                *rows,
            ],
        )
    ]
    for name, limit in signature.limits.items():
        value = shaped[name]
        asserted.append(
            tf.debugging.Assert(
                # False for NaN, too.
                tf.reduce_all(tf.abs(value) <= limit),
                [
                    f"Invalid value for {name}. Expected finite numbers from {-limit:g} to "
                    f"{limit:g}. Received NaN or a range of",
                    tf.reduce_min(value),
                    tf.reduce_max(value),
                ],
            )
        )
    with tf.control_dependencies(asserted):
        return {name: tf.identity(value) for name, value in shaped.items()}
