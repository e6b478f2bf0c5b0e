"""What a defence may change of a model."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import tensorflow as tf

from seatbelt_tf import checks, replicas
from seatbelt_tf.gaussians import Gaussian

if TYPE_CHECKING:
    from seatbelt_tf.model import Inference, SeatbeltVAE

_T = TypeVar("_T", bound=type)
_DEFENCES: dict[str, type] = {}


def register(name: str) -> Callable[[_T], _T]:
    """Class decorator: makes a defence available under a name."""

    def add(defence: _T) -> _T:
        _DEFENCES[name] = defence
        return defence

    return add


def find(name: str) -> "type[Defence]":
    """The class of that name; ValueError names the nearest."""
    return _DEFENCES[checks.one_of("defence", name, _DEFENCES)]


class Defence:
    """A defence that does nothing; each overrides what it changes.

    Args:
        **options: see `settings`; each becomes an attribute.
    """

    def __init__(self, **options: Any) -> None:
        self.__dict__.update(options)

    def networks(self, model: "SeatbeltVAE", found: Any) -> Any:
        """Where the model takes encoder, decoder, MLPs and heads from: a module, or the like."""
        del model
        return found

    def build(self, model: "SeatbeltVAE") -> None:
        """Adds variables to the model."""

    def adapt(self, model: "SeatbeltVAE", images: np.ndarray) -> None:
        """Takes what it needs from training images, before training: (N, H, W, C)."""

    def is_adapted(self) -> bool:
        """Whether `adapt` was called, or need not be."""
        return True

    def shown(self, images: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """What the encoder sees in training: (M, H, W, C) and a (2,) seed -> the same shape."""
        del key
        return images

    def posterior(self, posterior: Gaussian) -> Gaussian:
        """A layer's posterior from what its head gives: `Gaussian` of (M, d_i) -> the same."""
        return posterior

    def embedding(self, means: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        """What other systems read of the means by layer: tuple of (M, d_i) -> the same."""
        return means

    def scale(self, scale: float | tf.Tensor) -> float | tf.Tensor:
        """The standard deviation of p(x | z), from the model's own: () -> ()."""
        return scale

    def loss(
        self,
        model: "SeatbeltVAE",
        images: tf.Tensor,
        loss: tf.Tensor,
        noise: Sequence[tf.Tensor],
        key: tf.Tensor,
    ) -> tf.Tensor:
        """The loss with the defence's own term, summed over replicas like the rest: () -> ()."""
        del model, images, noise, key
        return loss

    def inferred(
        self,
        model: "SeatbeltVAE",
        images: tf.Tensor,
        inference: "Inference",
        noise: Sequence[tf.Tensor] | None,
    ) -> "Inference":
        """Posteriors and latents at inference, from the encoder's: `Inference` -> the same.

        Args:
            model: a `SeatbeltVAE`.
            images: (M, H, W, C).
            inference: the encoder's.
            noise: (M, d_i) standard normal draws by layer; None for latents at their means.
        """
        del model, images, noise
        return inference


def image_noise(images: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Standard normal draws like the images, the same however many replicas there are.

    Args:
        images: (M, H, W, C), this replica's.
        key: (2,) seed.

    Returns:
        (M, H, W, C) float32.
    """
    units = images.shape[1:].num_elements()
    noise = replicas.normal_noise(tf.shape(images)[0], units, key)
    return tf.reshape(noise, tf.shape(images))
