"""What can be attacked: the protocol, and an adapter for any Keras VAE."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from seatbelt_tf import checks, objectives
from seatbelt_tf.gaussians import Gaussian, standard


class Attackable(Protocol):
    """What an attack asks of a model. `SeatbeltVAE` and `Victim` fulfil it.

    One whose gradients lead nowhere, since its inference is random or not smooth, may also have a
    method `surrogate()`: another Attackable, of the same shapes, whose attacks transfer to it.
    They are where attacks on it begin.

    Some ask for more: output attacks and scores for `log_likelihood(images, latents)`, log p(x | z)
    of (M, H, W, C) and a tuple of (M, d_i) as (M,) nats; output attacks for `priors(latents)`, the
    `Gaussian`s p(z^i | z^(i+1)) of (M, d_i) by layer; `maximum_damage` for `decode(latents)`, mean
    images (M, H, W, C).

    Attributes:
        image_shape: (H, W, C).
        latent_dims: units by layer, bottom first.
    """

    # A more precise type would refuse all others, those of tuples of known length among them.
    image_shape: Any
    latent_dims: Any

    def posteriors(
        self, images: tf.Tensor, noise: Sequence[tf.Tensor] | None = None
    ) -> tuple[Gaussian, ...]:
        """Posteriors by layer: (M, H, W, C) -> `Gaussian`s of (M, d_i), or of (M, S, d_i).

        `noise` holds (S, d_i) standard normal draws by layer for the ancestors of the layers
        above; None puts ancestors at their means. Must be differentiable.
        """


class Decodable(Attackable, Protocol):
    """An `Attackable` with all that some attacks and scores ask for beside."""

    def log_likelihood(self, images: tf.Tensor, latents: Sequence[tf.Tensor]) -> tf.Tensor:
        """log p(x | z): (M, H, W, C) and a tuple of (M, d_i) -> (M,), nats."""

    def priors(self, latents: Sequence[tf.Tensor]) -> tuple[Gaussian, ...]:
        """p(z^i | z^(i+1)) at the latents by layer: `Gaussian`s of (M, d_i). For output attacks."""

    def decode(self, latents: Sequence[tf.Tensor]) -> tf.Tensor:
        """Mean images of a tuple of (M, d_i): -> (M, H, W, C). For `maximum_damage` alone."""


def check_attackable(victim: object) -> None:
    """Raises ValueError for a model that attacks do not know how to ask: a Keras model, say."""
    needed = ("image_shape", "latent_dims", "posteriors")
    if not all(hasattr(victim, name) for name in needed):
        raise checks.invalid(
            "victim",
            "a SeatbeltVAE, attacks.Victim(encoder=…, decoder=…) or another attacks.Attackable",
            type(victim).__name__,
        )


def surrogate_of(victim: Attackable) -> Any:
    """The victim's surrogate, or None."""
    make = getattr(victim, "surrogate", None)
    return None if make is None else make()


def latents(
    posteriors: Sequence[Gaussian], noise: Sequence[tf.Tensor] | None
) -> tuple[tf.Tensor, ...]:
    """Latents of all layers, from what `Attackable.posteriors` gave for the noise.

    Args:
        posteriors: `Gaussian`s by layer, of (M, S, d_i), or of (M, d_i) without noise.
        noise: (S, d_i) standard normal draws by layer; None for the means.

    Returns:
        A tuple of (M·S, d_i), or of (M, d_i).
    """
    if noise is None:
        return tuple(mean for mean, _ in posteriors)
    return tuple(
        tf.reshape(mean + stddev * draw, [-1, draw.shape[-1]])
        for (mean, stddev), draw in zip(posteriors, noise, strict=True)
    )


class Victim:
    """A user's own VAE with one latent layer, as something to attack.

    Example:
        victim = attacks.Victim(encoder=my_encoder, decoder=my_decoder, likelihood_scale=0.1)
        result = attacks.attack(victim, images, targets, weights)

    Args:
        encoder: callable, a `keras.Model` say: (M, H, W, C) images in [-1, 1] to a tuple that
            begins with mean and log-variance of q(z | x), (M, d) each.
        decoder: callable, (M, d) latents to the mean of p(x | z), (M, H, W, C), in the images'
            own range; latent attacks alone do without, their scores do not.
        likelihood_scale: standard deviation of p(x | z), in the images' own units.
        image_shape: (H, W, C); by default the encoder's `input_shape`.

    Raises:
        ValueError: the image shape is not known, or the encoder's results are not as said.
    """

    def __init__(
        self,
        *,
        encoder: Callable,
        decoder: Callable | None = None,
        likelihood_scale: float | None = None,
        image_shape: Sequence[int] | None = None,
    ) -> None:
        if image_shape is None:
            image_shape = (getattr(encoder, "input_shape", None) or (None,))[1:]
        if len(image_shape) != 3 or None in image_shape:
            raise checks.invalid(
                "image_shape", "(H, W, C), which this encoder does not tell", repr(image_shape)
            )
        if decoder is not None and likelihood_scale is None:
            raise checks.invalid("likelihood_scale", "a number above 0, beside a decoder", None)
        if decoder is not None:
            likelihood_scale = checks.finite_number("likelihood_scale", likelihood_scale, above=0)
        self.image_shape = tuple(image_shape)
        self.likelihood_scale = likelihood_scale
        self._encoder, self._decoder = encoder, decoder
        try:
            mean, stddev = self._encode(tf.zeros((2, *self.image_shape)))
        except (TypeError, IndexError, KeyError) as error:
            raise checks.invalid("encoder", "(mean, log-variance) as result", error) from error
        if mean.shape.rank != 2 or mean.shape != stddev.shape:
            raise checks.invalid(
                "encoder",
                "mean and log-variance of one shape (M, d)",
                f"results of shapes {tuple(mean.shape)} and {tuple(stddev.shape)}",
            )
        self.latent_dims = (int(mean.shape[1]),)

    def _encode(self, images):
        found = self._encoder(images)
        if not isinstance(found, (tuple, list)):
            raise TypeError(f"neither a tuple nor a list: {type(found).__name__}")
        mean, log_variance, *_ = found
        log_variance = tf.cast(log_variance, tf.float32)
        return Gaussian(tf.cast(mean, tf.float32), tf.exp(0.5 * log_variance))

    def posteriors(
        self, images: tf.Tensor, noise: Sequence[tf.Tensor] | None = None
    ) -> tuple[Gaussian, ...]:
        """The posterior, in a tuple: (M, H, W, C) -> `Gaussian` of (M, d), or of (M, S, d).

        A single layer has no ancestors, so all S draws are the same.
        """
        posterior = self._encode(images)
        if noise is None:
            return (posterior,)
        draws = noise[0].shape[0]
        return (Gaussian(*(tf.repeat(part[:, None], draws, axis=1) for part in posterior)),)

    def decode(self, latents: Sequence[tf.Tensor]) -> tf.Tensor:
        """Mean images of a tuple of one (M, d): -> (M, H, W, C) float32.

        Raises:
            ValueError: the victim has no decoder.
        """
        if self._decoder is None:
            raise checks.invalid("decoder", "one, which this objective or score needs", None)
        return tf.cast(self._decoder(latents[0]), tf.float32)

    def log_likelihood(self, images: tf.Tensor, latents: Sequence[tf.Tensor]) -> tf.Tensor:
        """log p(x | z): (M, H, W, C) and a tuple of one (M, d) -> (M,), nats.

        Raises:
            ValueError: the victim has no decoder.
        """
        means = self.decode(latents)
        return objectives.log_likelihood(images, means, np.float32(self.likelihood_scale))

    def priors(self, latents: Sequence[tf.Tensor]) -> tuple[Gaussian, ...]:
        """Normal(0, I), in a tuple: a tuple of one (M, d) -> `Gaussian` of (M, d)."""
        return (standard(latents[0]),)
