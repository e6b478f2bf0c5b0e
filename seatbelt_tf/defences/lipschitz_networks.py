"""Networks of known Lipschitz constant: the counterparts of `networks`, layer by layer.

Every linear layer is rescaled by a bound of its norm that costs next to nothing and needs no
iteration (Prach and Lampert 2022, "Almost-orthogonal Lipschitz layers", theorem 1): for a matrix J
and d_i = max(1, Σ_j |J Jᵀ|_ij), the norm of diag(d)^(-1/2) J is at most 1, and J itself is left
alone where its rows are orthonormal. Power iteration would bound the norm from below only, which
certifies nothing. For a convolution J Jᵀ is a small convolution itself, so that the bound is the
operator's and not its reshaped kernel's; zero padding only lowers it. Weights start orthonormal.
The activation sorts pairs of units (MaxMin, Anil et al. 2019), which keeps norms and gradients
where ReLU halves them.
"""

import math

import keras
import tensorflow as tf

from seatbelt_tf import networks, presets
from seatbelt_tf.gaussians import Gaussian
from seatbelt_tf.half_precision import convolved


def normalised(kernel):
    """A kernel whose convolution has norm 1 at most: (k, k, P, F) -> the same.

    The smaller of the two sides is rescaled, on which the matrix can be orthonormal.
    """
    outputs_first = kernel.shape[2] >= kernel.shape[3]
    rows = kernel if outputs_first else tf.transpose(kernel, [0, 1, 3, 2])
    reach = kernel.shape[0] - 1
    if reach:
        ends = [reach, reach]
        images = tf.pad(tf.transpose(rows, [3, 0, 1, 2]), [[0, 0], ends, ends, [0, 0]])
        products = tf.nn.conv2d(images, rows, 1, "VALID")
    else:
        products = tf.matmul(rows[0, 0], rows[0, 0], transpose_a=True)[:, None, None]
    gram = tf.reduce_sum(tf.abs(products), axis=[1, 2, 3])
    scale = tf.math.rsqrt(tf.maximum(gram, 1.0))
    return kernel * (scale if outputs_first else scale[:, None])


def max_min(features):
    """Each pair of units sorted: (..., 2u) -> the same; Lipschitz constant 1, norms kept."""
    first, second = tf.split(features, 2, axis=-1)
    return tf.concat([tf.maximum(first, second), tf.minimum(first, second)], axis=-1)


def _valid(images, kernel):
    return tf.nn.conv2d(images, kernel, 1, "VALID")


class _Orthonormal(keras.initializers.Initializer):
    """Orthonormal on the central 2×2 pixels of a 4×4 kernel, 0 elsewhere."""

    def __init__(self, seed):
        self.seed = seed

    def __call__(self, shape, dtype=None):
        channels, filters = shape[2:]
        centre = keras.initializers.Orthogonal(seed=self.seed)((4 * channels, filters), dtype)
        centre = tf.reshape(centre, [2, 2, channels, filters])
        return tf.pad(centre, [[1, 1], [1, 1], [0, 0], [0, 0]])


class _Layer(keras.layers.Layer):
    """A linear map of norm 1 at most, a bias and, unless it is the last, MaxMin."""

    def __init__(self, filters, seed, is_sorted=True, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.seed, self.is_sorted = filters, seed, is_sorted

    def _add(self, kernel_shape, initializer):
        self.kernel = self.add_weight(shape=kernel_shape, initializer=initializer, name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def _finished(self, outputs):
        outputs += tf.convert_to_tensor(self.bias)
        return max_min(outputs) if self.is_sorted else outputs

    def _unit_kernel(self):
        kernel = tf.cast(tf.convert_to_tensor(self.kernel), tf.float32)
        return tf.cast(normalised(self._blocks(kernel)), self.compute_dtype)

    @staticmethod
    def _blocks(kernel):
        """(4, 4, C, F) as a 2×2 kernel over blocks of 2×2 pixels: (2, 2, 4C, F)."""
        channels, filters = kernel.shape[2:]
        kernel = tf.reshape(kernel, [2, 2, 2, 2, channels, filters])
        return tf.reshape(tf.transpose(kernel, [0, 2, 1, 3, 4, 5]), [2, 2, 4 * channels, filters])


class LipschitzConv2D(_Layer):
    """A 4×4 convolution of stride 2: (M, H, W, C) -> (M, H/2, W/2, filters)."""

    def build(self, input_shape):
        self._add((4, 4, input_shape[-1], self.filters), _Orthonormal(self.seed))

    def call(self, inputs):
        blocks = tf.nn.space_to_depth(tf.pad(inputs, [[0, 0], [1, 1], [1, 1], [0, 0]]), 2)
        return self._finished(convolved(_valid, blocks, self._unit_kernel()))


class LipschitzConv2DTranspose(_Layer):
    """Its transpose: (M, H, W, C) -> (M, 2H, 2W, filters)."""

    def build(self, input_shape):
        self._add((4, 4, self.filters, input_shape[-1]), _Orthonormal(self.seed))

    def call(self, inputs):
        kernel = tf.transpose(self._unit_kernel()[::-1, ::-1], [0, 1, 3, 2])
        padded = tf.pad(inputs, [[0, 0], [1, 1], [1, 1], [0, 0]])
        pixels = tf.nn.depth_to_space(convolved(_valid, padded, kernel), 2)
        return self._finished(pixels[:, 1:-1, 1:-1])


class LipschitzDense(_Layer):
    """A dense layer: (M, f) -> (M, filters)."""

    def build(self, input_shape):
        shape = (input_shape[-1], self.filters)
        self._add(shape, keras.initializers.Orthogonal(seed=self.seed))

    @staticmethod
    def _blocks(kernel):
        return kernel[None, None]

    def call(self, inputs):
        return self._finished(inputs @ self._unit_kernel()[0, 0])


class LipschitzHead(keras.layers.Layer):
    """A diagonal Gaussian whose mean has Lipschitz constant `scale`, its stddev max_stddev / 4.

    mean = scale (W₁ h + b₁), stddev = (max_stddev − 1e-4) sigmoid(W₂ h + b₂) + 1e-4, both W of norm
    1 at most: (M, f) -> `Gaussian` of (M, units), float32.

    Args:
        units: number of units d.
        initial_stddev: the standard deviation at the start, roughly, for means of scale 1.
        seed: of the initial weights.
        scale: Lipschitz constant of the mean.
        max_stddev: largest standard deviation.
    """

    def __init__(self, units, initial_stddev, seed, scale, max_stddev, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.scale, self.max_stddev = scale, max_stddev
        self.mean = LipschitzDense(units, seed, is_sorted=False, dtype="float32")
        self.raw_stddev = LipschitzDense(units, seed + 1, is_sorted=False, dtype="float32")
        share = min(scale * initial_stddev, 0.9 * max_stddev) / max_stddev
        self._initial = math.log(share / (1 - share))

    def build(self, input_shape):
        self.mean.build(input_shape)
        self.raw_stddev.build(input_shape)
        self.raw_stddev.kernel.assign(0.01 * self.raw_stddev.kernel)
        self.raw_stddev.bias.assign(tf.fill(self.raw_stddev.bias.shape, self._initial))

    def call(self, features):
        features = tf.cast(features, tf.float32)
        share = tf.sigmoid(self.raw_stddev(features))
        least = networks.SMALLEST_STDDEV
        stddev = (self.max_stddev - least) * share + least
        return Gaussian(self.scale * self.mean(features), stddev)


def convolutional_encoder(image_shape, dtype, seed):
    """Features of images, Lipschitz constant 1: (M, H, W, C) -> (M, 512)."""
    *halving, last = presets.filters_for(image_shape)
    layers = [
        LipschitzConv2D(filters, seed + index, dtype=dtype) for index, filters in enumerate(halving)
    ]
    layers += [
        keras.layers.Flatten(dtype=dtype),
        LipschitzDense(last, seed + len(halving), dtype=dtype),
    ]
    return keras.Sequential([keras.Input(image_shape), *layers], name="convolutional_encoder")


def convolutional_decoder(latent_dim, image_shape, dtype, seed, scale):
    """Mean image of concatenated latents, constant `scale`: (M, d) -> (M, H, W, C) float32."""
    *halving, last = presets.filters_for(image_shape)
    remaining = image_shape[0] >> len(halving)
    sizes = [last, remaining * remaining * halving[-1]]
    layers = [LipschitzDense(size, seed + index, dtype=dtype) for index, size in enumerate(sizes)]
    layers.append(keras.layers.Reshape((remaining, remaining, halving[-1]), dtype=dtype))
    stages = (*halving[-2::-1], image_shape[2])
    layers += [
        LipschitzConv2DTranspose(
            filters, seed + 2 + index, is_sorted=index < len(stages) - 1, dtype=dtype
        )
        for index, filters in enumerate(stages)
    ]
    return keras.Sequential(
        [
            keras.Input((latent_dim,)),
            keras.layers.Rescaling(scale, dtype=dtype),
            *layers,
            keras.layers.Activation("linear", dtype="float32"),
        ],
        name="convolutional_decoder",
    )


def conditional_mlp(input_dim, width, dtype, seed):
    """Two hidden layers of Lipschitz constant 1: (M, input_dim) -> (M, width)."""
    layers = [LipschitzDense(width, seed + index, dtype=dtype) for index in range(2)]
    return keras.Sequential([keras.Input((input_dim,)), *layers], name="conditional_mlp")
