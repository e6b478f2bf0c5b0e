"""What an attacker minimises, by name: the divergence part of Δ as a function of the image.

Latent attacks (the paper's equations 1 and 10) bring the posteriors of every attacked layer to the
target's; the output attack (equation 2) makes the target likely under the attacked posterior:

    latent_kl:  Σ_i KL(q(z^i | x + d) ‖ q(z^i | x_t))
    latent_w2:  Σ_i W₂(q(z^i | x + d), q(z^i | x_t))
    output:     −E_q(z | x + d) log p(x_t | z) + KL(q(z | x + d) ‖ prior)

A new one is a subclass of `Objective`, registered by name, in any file (docs/extending.md).
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tensorflow as tf

from seatbelt_tf import checks, gaussians
from seatbelt_tf.attacks.victim import Attackable, Decodable, latents
from seatbelt_tf.objectives import divergences_by_unit

_T = TypeVar("_T", bound=type)
_OBJECTIVES: dict[str, type["Objective"]] = {}


class Objective:
    """What an attack objective has; all are static or class methods, no instance is made.

    `prepare(victim, targets, noise)`: what is computed once of the (b, H, W, C) targets, nested
    tensors of leading dimension b. `divergence(victim, images, prepared, noise, layers)`: (b,)
    nats or distances of (b, H, W, C) images, to be differentiated. `noise` is a tuple over layers
    of (S, d_i) draws for the ancestors, or None for ancestors at their means; `layers` holds the
    indices of the attacked layers.

    Attributes:
        power: Δ to this power is what is minimised, which has the same minima where the divergence
            is never negative; with another it must be 1. A distance's curvature grows without bound
            where it vanishes, its square's flattens the way there, and the power between them is
            best (docs/decisions.md).
        memory: pairs that the quasi-Newton matrix remembers, fewer than `minimize_in_box` does by
            default (docs/decisions.md).
        has_layers: whether it attacks the layers that it is given, and not the whole model.
    """

    prepare: Callable
    divergence: Callable
    has_layers = True
    power = 1.0
    memory = 15


def register(name: str) -> Callable[[_T], _T]:
    """Class decorator: makes an attack objective available under a name."""

    def add(objective: _T) -> _T:
        _OBJECTIVES[name] = objective
        return objective

    return add


def names() -> tuple[str, ...]:
    """The names that `attack` accepts, sorted."""
    return tuple(sorted(_OBJECTIVES))


def find(name: str) -> type[Objective]:
    """The objective of that name; ValueError names the nearest."""
    return _OBJECTIVES[checks.one_of("objective", name, names())]


class _Latent(Objective):
    """Sum over layers of a discrepancy of posteriors, averaged over draws of the ancestors."""

    discrepancy: Callable

    @staticmethod
    def prepare(victim: Attackable, targets: tf.Tensor, noise: Sequence[tf.Tensor] | None) -> Any:
        """The targets' posteriors: (b, H, W, C) -> `Gaussian`s by layer."""
        return victim.posteriors(targets, noise)

    @classmethod
    def divergence(
        cls,
        victim: Attackable,
        images: tf.Tensor,
        prepared: Any,
        noise: Sequence[tf.Tensor] | None,
        layers: Sequence[int],
    ) -> tf.Tensor:
        """Discrepancy of the images' posteriors from the prepared ones: -> (b,)."""
        posteriors = victim.posteriors(images, noise)
        terms = [cls.discrepancy(posteriors[layer], prepared[layer]) for layer in layers]
        total = tf.add_n(terms)
        return total if noise is None else tf.reduce_mean(total, axis=1)


@register("latent_kl")
class LatentKL(_Latent):
    """Σ_i KL(q(z^i | x + d) ‖ q(z^i | x_t)), nats (equations 1 and 10)."""

    discrepancy = staticmethod(gaussians.kl)


@register("latent_w2")
class LatentW2(_Latent):
    """Σ_i W₂(q(z^i | x + d), q(z^i | x_t)): the distance, not its square (section 5)."""

    discrepancy = staticmethod(gaussians.wasserstein2)
    power = 1.5
    memory = 25


@register("latent_w2_squared")
class LatentW2Squared(_Latent):
    """Σ_i W₂²(q(z^i | x + d), q(z^i | x_t)), as some others use it."""

    discrepancy = staticmethod(gaussians.squared_wasserstein2)


@register("output")
class Output(Objective):
    """−E_q(z | x + d) log p(x_t | z) + KL(q(z | x + d) ‖ prior), nats (equation 2).

    The paper prints the sign of an objective to be maximised; the attacker minimises this. It
    attacks the whole model: all layers. Latents, like ancestors, are at their
    means or at the fixed draws; the KL is in closed form with ancestors at their means, and below
    the top a log-ratio at the draws otherwise.
    """

    has_layers = False

    @staticmethod
    def prepare(victim: Attackable, targets: tf.Tensor, noise: Sequence[tf.Tensor] | None) -> Any:
        """The targets themselves: (b, H, W, C) -> the same."""
        del victim, noise
        return targets

    @staticmethod
    def divergence(
        victim: Decodable,
        images: tf.Tensor,
        prepared: Any,
        noise: Sequence[tf.Tensor] | None,
        layers: Sequence[int],
    ) -> tf.Tensor:
        """Negative ELBO of the targets under the images' posteriors: -> (b,), nats."""
        del layers
        posteriors = victim.posteriors(images, noise)
        drawn = latents(posteriors, noise)
        draws, estimator = 1, "analytic"
        if noise is not None:
            draws, estimator = noise[0].shape[0], "mixed"
            posteriors = tf.nest.map_structure(
                lambda t: tf.reshape(t, [-1, t.shape[-1]]), posteriors
            )
        kl = divergences_by_unit(posteriors, victim.priors(drawn), drawn, estimator)
        likelihood = victim.log_likelihood(tf.repeat(prepared, draws, axis=0), drawn)
        loss = tf.add_n([tf.reduce_sum(term, axis=1) for term in kl]) - likelihood
        return tf.reduce_mean(tf.reshape(loss, [-1, draws]), axis=1)
