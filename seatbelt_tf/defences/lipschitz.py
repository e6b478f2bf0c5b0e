"""Encoder and decoder of bounded Lipschitz constants, and what they certify (Barrett et al. 2021).

With the encoder's mean s-Lipschitz and the decoder c-Lipschitz the mean reconstruction moves by at
most s c ‖d‖₂, whatever the distortion d: `bound` is that product for the whole hierarchy. Barrett
et al. (theorem 1) bound the probability that the reconstruction of a *sample* moves far; their
bound is replaced by a Gaussian concentration inequality, which is tighter in many dimensions and
holds layer by layer.
"""

import functools
import math
import types
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from seatbelt_tf import checks, pixels
from seatbelt_tf.defences import lipschitz_networks
from seatbelt_tf.defences.base import Defence, register

if TYPE_CHECKING:
    from seatbelt_tf.model import SeatbeltVAE

# Constants hold in exact arithmetic; rounding in float32 networks moves norms by far less.
_ROUNDING = 1.0 + 1e-4
_BISECTIONS = 60


@register("lipschitz")
class Lipschitz(Defence):
    """Networks of `lipschitz_networks`; the decoder's constant makes the whole `bound`-Lipschitz.

    Every layer's posterior mean is `latent_scale` times a 1-Lipschitz function of its inputs, which
    the decoder undoes: a reconstruction is close to a projection, whose constant is 1. Priors are
    no part of a reconstruction and keep their networks.
    """

    bound: float
    latent_scale: float
    max_stddev: float

    def networks(self, model: "SeatbeltVAE", found: Any) -> types.SimpleNamespace:
        """See `Defence.networks`."""
        del found
        constant = decoder_constant(model, self.bound, self.latent_scale)
        head = functools.partial(
            lipschitz_networks.LipschitzHead, scale=self.latent_scale, max_stddev=self.max_stddev
        )
        return types.SimpleNamespace(
            convolutional_encoder=lipschitz_networks.convolutional_encoder,
            conditional_mlp=lipschitz_networks.conditional_mlp,
            lowest_head=head,
            GaussianHead=head,
            convolutional_decoder=functools.partial(
                lipschitz_networks.convolutional_decoder, scale=constant
            ),
        )


def mean_constants(model: "SeatbeltVAE", latent_scale: float) -> list[float]:
    """Lipschitz constants of every layer's posterior mean, ancestors at their means, bottom first.

    K_1 = s; K_(i+1) = s √(K_i² + 1), since the MLP sees z^i beside the features of x, or s K_i for
    inference="chain".
    """
    constants = [latent_scale]
    for _ in model.latent_dims[1:]:
        constants.append(latent_scale * math.hypot(constants[-1], model.inference == "skip"))
    return constants


def decoder_constant(model: "SeatbeltVAE", bound: float, latent_scale: float) -> float:
    """The decoder's Lipschitz constant that makes the mean reconstruction `bound`-Lipschitz."""
    means = mean_constants(model, latent_scale)
    return bound / math.hypot(*(means if model.likelihood_from == "all" else means[:1]))


class Certificate(NamedTuple):
    """L2 radii, pixels in [-1, 1], within which no distortion does more than was said.

    Attributes:
        mean_radius: () the mean reconstruction of any image moves by at most the tolerance.
        sample_radius: (M,) reconstructions of independent samples from q(z | x) and q(z | x + d)
            are no further apart than the tolerance with at least the probability; 0: not even
            two samples of the image itself are certified to be that close.
    """

    mean_radius: float
    sample_radius: np.ndarray


def certificate(
    model: "SeatbeltVAE", images: ArrayLike, tolerance: float, probability: float = 0.9
) -> Certificate:
    """Certified radii of images for a model with the `lipschitz` defence.

    For layer i, z − z' is the difference of means plus √(σ² + σ'²) ∘ ε, whose norm exceeds
    √tr + t √max with probability exp(−t²/2) at most (Gaussian concentration; tr and max of the
    σ_j² + σ'_j²). The lowest layer's σ is the image's own and σ' within max_stddev/4 · ‖d‖ of
    it; above, both are at most max_stddev. Differences pass up the layers and through the
    decoder by the constants, failures add up, and bisection finds the largest radius.

    Args:
        model: a `SeatbeltVAE` with the defence "lipschitz".
        images: (M, H, W, C) in [-1, 1].
        tolerance: r > 0, L2 distance of reconstructions, pixels in [-1, 1].
        probability: of the samples' statement, in (0, 1).

    Returns:
        `Certificate`.

    Raises:
        ValueError: another model, an argument out of range, or a GPU that rounds float32 products
            to TensorFloat-32.
    """
    if "lipschitz" not in model.defences:
        raise checks.invalid("model", "one with the defence 'lipschitz'", sorted(model.defences))
    if "mcmc" in model.defences:
        raise checks.invalid("model", "one without 'mcmc', whose chain is not bounded", "mcmc")
    if model.dtype_policy.compute_dtype != "float32":
        raise checks.invalid("model.dtype", "float32: others round too much", model.dtype)
    tolerance = checks.finite_number("tolerance", tolerance, above=0)
    if not 0 < checks.finite_number("probability", probability) < 1:
        raise checks.invalid("probability", "a number between 0 and 1", probability)
    if _rounds_products():
        raise checks.invalid(
            "the GPU's arithmetic",
            "float32: tf.config.experimental.enable_tensor_float_32_execution(False)",
            "TensorFloat-32",
        )
    images = pixels.check_images(images, model.image_shape)
    options = model.defences["lipschitz"]
    stddev = np.asarray(model.encode(images)[0].stddev, np.float64)
    reach = _ROUNDING * options["bound"]
    radii = np.zeros(len(stddev))
    high = np.full(len(stddev), tolerance / reach)
    for _ in range(_BISECTIONS):
        middle = (radii + high) / 2
        holds = movement(model, stddev, middle, probability) <= tolerance
        radii, high = np.where(holds, middle, radii), np.where(holds, high, middle)
    return Certificate(tolerance / reach, radii)


def _rounds_products():
    """Whether float32 matrix products are TF32's, of ten bits, as on GPUs they are by default."""
    gpus = tf.config.list_physical_devices("GPU")
    return bool(gpus) and tf.config.experimental.tensor_float_32_execution_enabled()


def movement(
    model: "SeatbeltVAE", stddev: np.ndarray, radii: np.ndarray, probability: float
) -> np.ndarray:
    """How far reconstructions of samples move with the probability: see `certificate`.

    Args:
        model: a `SeatbeltVAE` with the defence.
        stddev: (M, d_1) of q(z^1 | x).
        radii: (M,) ‖d‖₂.
        probability: that it is no further.

    Returns:
        (M,) float64.
    """
    options = model.defences["lipschitz"]
    scale, largest = options["latent_scale"], options["max_stddev"]
    floor = model.defences.get("variance_floor", {"min_stddev": 0.0})["min_stddev"]
    depth = len(model.latent_dims)
    deviations = math.sqrt(2 * math.log(depth / (1 - probability)))
    changed = largest / 4 * radii
    norm, peak = np.linalg.norm(stddev, axis=1), np.max(stddev, axis=1)
    noise = np.hypot(norm, norm + changed) + deviations * np.hypot(peak, peak + changed)
    apart = [scale * radii + noise]
    for units in model.latent_dims[1:]:
        noise = math.sqrt(2) * math.hypot(largest, floor) * (math.sqrt(units) + deviations)
        below = apart[-1]
        inputs = np.hypot(below, radii) if model.inference == "skip" else below
        apart.append(scale * inputs + noise)
    used = apart if model.likelihood_from == "all" else apart[:1]
    decoder = decoder_constant(model, options["bound"], scale)
    return _ROUNDING * decoder * np.sqrt(np.sum(np.square(used), axis=0))
