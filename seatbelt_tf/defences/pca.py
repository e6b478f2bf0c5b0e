"""An encoder that is no easier to steer than by mixing the target in: the principal components.

They are, but for a factor that nears 1 as the noise does 0, the posterior means of probabilistic
PCA (Tipping and Bishop 1999), the optimum of a VAE with linear networks (Lucas et al. 2019). To
bring them to the target's, an attacker has to bring in all that they see of it. The decoder remains
a network, and so do the layers above the lowest.
"""

import math
import types

import keras
import numpy as np
import tensorflow as tf

from seatbelt_tf import checks, networks, pixels
from seatbelt_tf.defences.base import Defence, register
from seatbelt_tf.gaussians import Gaussian


@register("pca")
class PrincipalComponents(Defence):
    """q(z^1 | x) around standardised principal components, and a decoder that adds to their image.

    mean_j = w_j'(x − b) / s_j with b the training images' mean, w_j and s_j² the leading
    eigenvectors and eigenvalues of their covariance; the standard deviation is learned, the same
    for all images. The mean of p(x | z) is b + Σ_j s_j z^1_j w_j plus the model's own decoder of
    all z, which starts at 0. `adapt` has to be called before training.
    """

    def networks(self, model, found):
        """See `Defence.networks`."""
        units = model.latent_dims[0]
        self._components = Components(model.image_shape, units)
        self._components.build()

        def encoder(image_shape, dtype, seed):
            del dtype, seed
            inputs = keras.Input(image_shape)
            return keras.Model(inputs, self._components(inputs), name="encoder")

        def decoder(latent_dim, image_shape, dtype, seed):
            network = found.convolutional_decoder(latent_dim, image_shape, dtype, seed)
            last = [layer for layer in network.layers if layer.weights][-1]
            last.kernel.assign(tf.zeros_like(last.kernel))
            inputs = keras.Input((latent_dim,))
            outputs = _Sum(self._components, dtype="float32")([network(inputs), inputs])
            return keras.Model(inputs, outputs, name="decoder")

        return types.SimpleNamespace(
            convolutional_encoder=encoder,
            conditional_mlp=found.conditional_mlp,
            lowest_head=FixedMeanHead,
            GaussianHead=found.GaussianHead,
            convolutional_decoder=decoder,
        )

    def adapt(self, model, images):
        """See `Defence.adapt`."""
        # Not at the top of the file: it takes half a second that few models need.
        from sklearn.decomposition import PCA

        units, count = model.latent_dims[0], len(images)
        if count <= units:
            raise checks.invalid("images", f"more than latent_dims[0] = {units} of them", count)
        fitted = PCA(units, svd_solver="randomized", random_state=0)
        fitted.fit(images.reshape(count, -1))
        # A component along which the images do not differ is not magnified.
        variances = fitted.explained_variance_
        differs = variances > np.finfo(np.float32).eps * variances[0]
        scales = np.sqrt(np.where(differs, variances, 1.0))
        self._components.fit(fitted.mean_, fitted.components_.T, scales)

    def embedding(self, means):
        """See `Defence.embedding`: w_j'(x − b), an orthogonal projection in place of mean_j.

        Divided by s_j, components along which images hardly differ count as much as the others, so
        that a small distortion moves what reads them far (docs/decisions.md).
        """
        lowest, *others = means
        return lowest * tf.convert_to_tensor(self._components.scales), *others

    def is_adapted(self):
        """See `Defence.is_adapted`."""
        return bool(tf.reduce_any(tf.convert_to_tensor(self._components.directions) != 0))


def projected(model, images):
    """The part of a mean reconstruction that is no network's: b + Σ_j w_j w_j'(x − b).

    Args:
        model: an adapted `SeatbeltVAE` with the defence "pca".
        images: (M, H, W, C) in [-1, 1].

    Returns:
        (M, H, W, C) float32.

    Raises:
        ValueError: another model; see `pixels.check_images`.
    """
    if "pca" not in model.defences:
        raise checks.invalid("model", "one with the defence 'pca'", sorted(model.defences))
    components = model.encoder.get_layer("components")
    return components.images(components(pixels.check_images(images, model.image_shape)))


class Components(keras.layers.Layer):
    """Standardised principal components of images: (M, H, W, C) -> (M, units), float32.

    Args:
        image_shape: (H, W, C).
        units: number of components.
    """

    def __init__(self, image_shape, units):
        super().__init__(dtype="float32", name="components")
        self.image_shape, self.units = image_shape, units

    def build(self, input_shape=None):
        del input_shape
        pixels = math.prod(self.image_shape)
        shapes = {"mean": (pixels,), "directions": (pixels, self.units), "scales": (self.units,)}
        for name, shape in shapes.items():
            initial = "ones" if name == "scales" else "zeros"
            weight = self.add_weight(shape=shape, initializer=initial, trainable=False, name=name)
            setattr(self, name, weight)
        self.built = True

    def fit(self, mean, directions, scales):
        """Takes b (D,), w (D, units) and s (units,)."""
        self.mean.assign(mean)
        self.directions.assign(directions)
        self.scales.assign(scales)

    def call(self, images):
        mean, directions, scales = map(tf.convert_to_tensor, self.weights)
        flat = tf.reshape(images, [-1, mean.shape[0]])
        return (flat - mean) @ directions / scales

    def images(self, components):
        """b + Σ_j s_j z_j w_j: (M, units) -> (M, H, W, C)."""
        mean, directions, scales = map(tf.convert_to_tensor, self.weights)
        flat = tf.matmul(components * scales, directions, transpose_b=True) + mean
        return tf.reshape(flat, [-1, *self.image_shape])


class _Sum(keras.layers.Layer):
    """(M, H, W, C) images and (M, d) latents, the components first -> the sum of both's images."""

    def __init__(self, components, **kwargs):
        super().__init__(**kwargs)
        self.components = components

    def call(self, inputs):
        images, latents = inputs
        return images + self.components.images(latents[:, : self.components.units])


class FixedMeanHead(keras.layers.Layer):
    """A Gaussian around the features themselves: (M, units) -> `Gaussian` of (M, units), float32.

    stddev = softplus(a) + 1e-4 with a learned, the same for all images.

    Args:
        units: number of units d.
        initial_stddev: the standard deviation at the start.
        seed: not needed.
    """

    def __init__(self, units, initial_stddev, seed, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        del seed
        self.units = units
        self._initial = networks.raw_stddev(initial_stddev)

    def build(self, input_shape):
        del input_shape
        initial = keras.initializers.Constant(self._initial)
        self.raw_stddev = self.add_weight(shape=(self.units,), initializer=initial, name="stddev")

    def call(self, features):
        stddev = networks.positive_stddev(tf.convert_to_tensor(self.raw_stddev))
        features = tf.cast(features, tf.float32)
        return Gaussian(features, tf.broadcast_to(stddev, tf.shape(features)))
