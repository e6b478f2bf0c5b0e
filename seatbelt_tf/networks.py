"""Convolutional encoder and decoder, conditional MLPs, and the paper's sizes (appendix G).

The encoder halves the image with 4×4 convolutions of stride 2 until 4×4 pixels (2×2 for 32×32
images) are left and ends with one valid convolution over those; the decoder is its mirror image
with a 1×1 transposed convolution in front. ReLU throughout; conditional MLPs have two hidden
layers with batch normalisation and leaky ReLU.
"""

import math

import keras
import tensorflow as tf

from seatbelt_tf import presets
from seatbelt_tf.gaussians import Gaussian
from seatbelt_tf.half_precision import convolved

# A standard deviation below this makes log densities overflow the precision of float32.
SMALLEST_STDDEV = 1e-4


def convolutional_encoder(image_shape, dtype, seed):
    """Features of images: (M, H, W, C) -> (M, 512), appendix G."""
    *halving, last = presets.filters_for(image_shape)
    remaining = image_shape[0] >> len(halving)
    stages = [(filters, 4, 2, "same") for filters in halving] + [(last, remaining, 1, "valid")]
    kinds = [FirstConv2D] + [Conv2D] * (len(halving) - 1) + [WholeImageConv2D]
    layers = [
        kinds[index](
            filters,
            size,
            strides=stride,
            padding=padding,
            activation="relu",
            kernel_initializer=keras.initializers.HeNormal(seed=seed + index),
            dtype=dtype,
        )
        for index, (filters, size, stride, padding) in enumerate(stages)
    ]
    return keras.Sequential(
        [keras.Input(image_shape), *layers, keras.layers.Flatten(dtype=dtype)],
        name="convolutional_encoder",
    )


def convolutional_decoder(latent_dim, image_shape, dtype, seed):
    """Mean image of concatenated latents: (M, d) -> (M, H, W, C) float32, appendix G."""
    *halving, last = presets.filters_for(image_shape)
    remaining = image_shape[0] >> len(halving)
    stages = [(last, 1, 1, "valid"), (halving[-1], remaining, 1, "valid")]
    stages += [(filters, 4, 2, "same") for filters in (*halving[-2::-1], image_shape[2])]
    layers, incoming = [], latent_dim
    for index, (filters, size, stride, padding) in enumerate(stages):
        is_output = index == len(stages) - 1
        # Keras's He initialiser counts a transposed convolution's outputs as its inputs.
        taps = (size // stride) ** 2 if padding == "same" else 1
        stddev = ((1.0 if is_output else 2.0) / (taps * incoming)) ** 0.5
        layer = Conv2DTranspose
        if is_output:
            layer = SubpixelConv2DTranspose
        elif padding == "valid":
            layer = WholeImageConv2DTranspose
        layers.append(
            layer(
                filters,
                size,
                strides=stride,
                padding=padding,
                activation=None if is_output else "relu",
                kernel_initializer=keras.initializers.RandomNormal(
                    stddev=stddev, seed=seed + index
                ),
                dtype=dtype,
            )
        )
        incoming = filters
    return keras.Sequential(
        [
            keras.Input((latent_dim,)),
            keras.layers.Reshape((1, 1, latent_dim), dtype=dtype),
            *layers,
            keras.layers.Activation("linear", dtype="float32"),
        ],
        name="convolutional_decoder",
    )


class Conv2D(keras.layers.Conv2D):
    """Keras's layer by `convolved`: (M, H, W, C) -> (M, H/stride, W/stride, filters)."""

    def convolution_op(self, inputs, kernel):
        return convolved(super().convolution_op, inputs, tf.convert_to_tensor(kernel))


class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """Keras's layer by `convolved`, with "same" padding: (M, H, W, C) -> (M, 2H, 2W, filters)."""

    def call(self, inputs):
        outputs = convolved(self._transposed, inputs, tf.convert_to_tensor(self.kernel))
        return self.activation(outputs + self.bias)

    def _transposed(self, inputs, kernel):
        return keras.ops.conv_transpose(inputs, kernel, self.strides, self.padding)


class FirstConv2D(keras.layers.Conv2D):
    """A 4×4 convolution of stride 2 whose gradient by the images is `SubpixelConv2DTranspose`.

    (M, H, W, C) -> (M, H/2, W/2, filters): the convolution itself is Keras's. Training does not
    need that gradient, attacks need little else.
    """

    def call(self, inputs):
        kernel = tf.convert_to_tensor(self.kernel)
        return self.activation(convolved(_strided_convolution, inputs, kernel) + self.bias)


class WholeImageConv2D(keras.layers.Conv2D):
    """A valid convolution with a kernel as large as the image, as one matrix product.

    (M, H, W, C) -> (M, 1, 1, filters): the same numbers as the convolution, several times faster.
    """

    def call(self, inputs):
        kernel = tf.reshape(tf.convert_to_tensor(self.kernel), [-1, self.filters])
        outputs = tf.reshape(inputs, [tf.shape(inputs)[0], kernel.shape[0]]) @ kernel
        return self.activation(outputs + self.bias)[:, None, None, :]


class WholeImageConv2DTranspose(keras.layers.Conv2DTranspose):
    """A valid transposed convolution of a single pixel, as one matrix product.

    (M, 1, 1, C) -> (M, kernel height, kernel width, filters): the mirror of `WholeImageConv2D`.
    """

    def call(self, inputs):
        height, width, filters, channels = self.kernel.shape
        kernel = tf.reshape(tf.convert_to_tensor(self.kernel), [-1, channels])
        outputs = tf.matmul(inputs[:, 0, 0, :], kernel, transpose_b=True)
        outputs = tf.reshape(outputs, [-1, height, width, filters])
        return self.activation(outputs + self.bias)


class SubpixelConv2DTranspose(keras.layers.Conv2DTranspose):
    """A 4×4 transposed convolution of stride 2, computed as a 2×2 convolution: the same numbers.

    (M, H, W, C) -> (M, 2H, 2W, filters). The four pixels in the middle of four neighbours are four
    sets of filters over these, rearranged by depth-to-space. Processors and accelerators are slow
    at transposed convolutions to one or three channels: benchmarks/train_step.py. The gradient is
    that of the transposed convolution, a plain convolution of stride 2.
    """

    def call(self, inputs):
        kernel = tf.convert_to_tensor(self.kernel)
        return self.activation(convolved(_subpixel_transpose, inputs, kernel) + self.bias)


@tf.custom_gradient
def _strided_convolution(inputs, kernel):
    """(M, H, W, C) images and a (4, 4, C, F) kernel -> (M, H/2, W/2, F)."""

    def gradient(upstream):
        return _subpixel_transpose(upstream, kernel), _kernel_gradient(inputs, kernel, upstream)

    return tf.nn.conv2d(inputs, kernel, 2, "SAME"), gradient


def _kernel_gradient(images, kernel, features):
    """Of the convolution of images (M, H, W, C) to features (M, H/2, W/2, F): (4, 4, C, F)."""
    return tf.raw_ops.Conv2DBackpropFilter(
        input=images,
        filter_sizes=kernel.shape,
        out_backprop=features,
        strides=[1, 2, 2, 1],
        padding="SAME",
    )


@tf.custom_gradient
def _subpixel_transpose(inputs, kernel):
    """(M, H, W, C) images and a (4, 4, F, C) kernel -> (M, 2H, 2W, F)."""
    # Outputs 2m + 1 + a, a = 0 and 1, take kernel rows 2 + a - 2t from inputs m + t, t = 0 and 1.
    rows = [[2, 3], [0, 1]]
    arranged = tf.gather(tf.gather(kernel, rows, axis=0), rows, axis=2)
    arranged = tf.transpose(arranged, [0, 2, 5, 1, 3, 4])
    arranged = tf.reshape(arranged, [2, 2, kernel.shape[3], 4 * kernel.shape[2]])
    quads = tf.nn.conv2d(inputs, arranged, 1, [[0, 0], [1, 1], [1, 1], [0, 0]])
    # The first and last row and column lie half outside.
    outputs = tf.nn.depth_to_space(quads, 2)[:, 1:-1, 1:-1]

    def gradient(upstream):
        by_kernel = _kernel_gradient(upstream, kernel, inputs)
        return tf.nn.conv2d(upstream, kernel, 2, "SAME"), by_kernel

    return outputs, gradient


def lowest_head(units, initial_stddev, seed):
    """The head of q(z^1 | x), which sees the encoder's features alone."""
    return GaussianHead(units, initial_stddev, seed)


def conditional_mlp(input_dim, width, dtype, seed):
    """Two hidden layers with batch normalisation and leaky ReLU: (M, input_dim) -> (M, width)."""
    layers = []
    for index in range(2):
        initializer = keras.initializers.HeNormal(seed=seed + index)
        layers += [
            keras.layers.Dense(width, use_bias=False, kernel_initializer=initializer, dtype=dtype),
            keras.layers.BatchNormalization(synchronized=True, dtype=dtype),
            keras.layers.LeakyReLU(dtype=dtype),
        ]
    return keras.Sequential([keras.Input((input_dim,)), *layers], name="conditional_mlp")


def positive_stddev(raw):
    """softplus(a) + 1e-4: a standard deviation of any real a."""
    return tf.nn.softplus(raw) + SMALLEST_STDDEV


def raw_stddev(stddev):
    """The a of which `positive_stddev` makes a number above 1e-4."""
    return math.log(math.expm1(stddev - SMALLEST_STDDEV))


class GaussianHead(keras.layers.Layer):
    """A diagonal Gaussian from features: (M, f) -> `Gaussian` of (M, units), float32.

    mean = W₁ h + b₁, stddev = softplus(W₂ h + b₂) + 1e-4.

    Args:
        units: number of units d.
        initial_stddev: the standard deviation where W₂ h is 0, which sets the initial b₂.
        seed: of the initial weights.
    """

    def __init__(self, units, initial_stddev, seed, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        bias = raw_stddev(initial_stddev)
        initializer = keras.initializers.GlorotNormal(seed=seed)
        self.mean = keras.layers.Dense(units, kernel_initializer=initializer, dtype="float32")
        self.raw_stddev = keras.layers.Dense(
            units,
            kernel_initializer="zeros",
            bias_initializer=keras.initializers.Constant(bias),
            dtype="float32",
        )

    def build(self, input_shape):
        self.mean.build(input_shape)
        self.raw_stddev.build(input_shape)

    def call(self, features):
        return Gaussian(self.mean(features), positive_stddev(self.raw_stddev(features)))
