"""Latents moved from the encoder's posterior towards p(z | x) at inference (Kuzina et al. 2022).

An attack on the encoder alone is undone as far as Hamiltonian Monte Carlo forgets where it began.
The attacker knows that, so that attacks here go through the whole chain: the latents that a model
with this defence reports are the chain's ends, as differentiable functions of the image.

`tfp.mcmc` draws momenta anew for every row of a batch, so that an image's chain would depend on its
place in it; a minimiser that evaluates some of its images at a time would see a function that
changes under it, and the defence would seem strong by noise alone. The chain here is the same
algorithm with draws that all images share.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from seatbelt_tf import gaussians
from seatbelt_tf.defences.base import Defence, register
from seatbelt_tf.gaussians import Gaussian

if TYPE_CHECKING:
    from seatbelt_tf.model import Inference, SeatbeltVAE

_SEED = (20, 22)
# The top layer's prior is Normal(0, I) and the others' are of its size: this far out float32 knows
# no density but 0, while networks and their derivatives are still finite.
_FARTHEST = 1e6


@register("mcmc")
class MCMC(Defence):
    """`chain_steps` of HMC, `leapfrog_steps` each, from where the encoder's posterior puts z.

    Training, the ELBO and `infer` are those of the encoder; reconstructions, `encode` and attacks
    see the chain. The posterior that they see has the chain's end in place of z and the encoder's
    standard deviation: with draws ε its mean is z' − stddev ∘ ε, so that mean + stddev ∘ ε is z'.
    """

    chain_steps: int
    leapfrog_steps: int
    step_size: float

    def inferred(
        self,
        model: "SeatbeltVAE",
        images: tf.Tensor,
        inference: "Inference",
        noise: Sequence[tf.Tensor] | None,
    ) -> "Inference":
        """See `Defence.inferred`."""
        stddevs = tuple(posterior.stddev for posterior in inference.posteriors)

        def log_density(latents):
            priors = model.priors(latents)
            terms = [model.log_likelihood(images, latents)]
            for latent, prior in zip(latents, priors, strict=True):
                terms.append(tf.reduce_sum(gaussians.log_density_by_unit(latent, prior), axis=1))
            return tf.add_n(terms)

        ends = chain(
            log_density,
            inference.samples,
            stddevs,
            self.step_size,
            self.chain_steps,
            self.leapfrog_steps,
            _keys(inference.samples[0], noise),
        )
        if noise is None:
            noise = tuple(tf.zeros_like(end) for end in ends)
        posteriors = tuple(
            Gaussian(end - stddev * draw, stddev)
            for end, stddev, draw in zip(ends, stddevs, noise, strict=True)
        )
        return inference._replace(posteriors=posteriors, samples=ends, priors=model.priors(ends))


def with_chain(model: "SeatbeltVAE", **options: Any) -> "SeatbeltVAE":
    """A copy of a trained model whose inference goes on with a chain: training does not know it.

    Args:
        model: a `SeatbeltVAE`.
        **options: of the defence "mcmc".

    Raises:
        ValueError: an option is out of range.
    """
    return _with_defences(model, {**model.defences, "mcmc": options})


def without_chain(model: "SeatbeltVAE") -> "SeatbeltVAE":
    """A copy of a model whose inference ends with the encoder's posterior, as in training.

    Its gradients are smooth, so that an attack on it, transferred, may do more than one through
    the chain.

    Args:
        model: a `SeatbeltVAE`.
    """
    others = {name: options for name, options in model.defences.items() if name != "mcmc"}
    return _with_defences(model, others)


def _with_defences(model, defences):
    copy = type(model).from_config({**model.get_config(), "defences": defences})
    copy.set_weights(model.get_weights())
    return copy


def _keys(latents, noise):
    """(M, 2) int32 seeds of each row's chain: one for all, or made of the bits of its own draws.

    So the same draws give the same chain, whatever else is in the batch, and fresh draws a fresh
    one: averaging an attack over draws averages over chains.
    """
    if noise is None:
        return tf.tile([_SEED], [tf.shape(latents)[0], 1])
    ends = tf.stack([noise[0][:, 0], noise[-1][:, -1]], axis=1)
    return tf.bitcast(ends, tf.int32)


def chain(
    log_density: Callable[[tuple[tf.Tensor, ...]], tf.Tensor],
    start: Sequence[tf.Tensor],
    scales: Sequence[tf.Tensor],
    step_size: float,
    steps: int,
    leapfrog_steps: int,
    keys: tf.Tensor,
) -> tuple[tf.Tensor, ...]:
    """The end of a Hamiltonian Monte Carlo chain (Neal 2011), differentiable in all its inputs.

    Args:
        log_density: function of a tuple of (M, d_i): -> (M,). It and its first two derivatives are
            finite wherever no coordinate is beyond 1e6. A proposal that comes by elsewhere is
            rejected, whatever its density: where that overflows it has no gradient.
        start: tuple of (M, d_i).
        scales: tuple of (M, d_i): steps are in these units, the mass matrix is their inverse
            square.
        step_size: of the leapfrog integrator.
        steps: number of proposals, each accepted or rejected by Metropolis's rule.
        leapfrog_steps: of each proposal.
        keys: (M, 2) int32 seeds; equal ones give equal draws.

    Returns:
        tuple of (M, d_i).
    """
    sizes = [part.shape[1] for part in start]

    def log_density_and_gradients(position):
        with tf.GradientTape() as tape:
            tape.watch(position)
            value = log_density(position)
        gradients = tape.gradient(value, position)
        return value, [scale * part for scale, part in zip(scales, gradients, strict=True)]

    def trajectory(position, gradients, momentum):
        is_near = tf.fill(tf.shape(start[0])[:1], True)
        for _ in range(leapfrog_steps):
            momentum = _moved(momentum, gradients, step_size / 2)
            shifts = [scale * part for scale, part in zip(scales, momentum, strict=True)]
            farther = _moved(position, shifts, step_size)
            for part in farther:
                is_near &= tf.reduce_all(tf.abs(part) <= _FARTHEST, axis=1)
            # Not where it overflows: the gradient of that is NaN, chosen or not.
            position = _chosen(is_near, farther, position)
            value, gradients = log_density_and_gradients(position)
            momentum = _moved(momentum, gradients, step_size / 2)
        energy = tf.where(is_near, value - _kinetic(momentum), -np.inf)
        return energy, position, (value, *gradients)

    draws = _draws(keys, steps, sum(sizes) + 1)
    position = tuple(start)
    value, gradients = log_density_and_gradients(position)
    for step in range(steps):
        momentum = tf.split(draws[:, step, 1:], sizes, axis=1)
        threshold = tf.math.log(_uniform(draws[:, step, 0]))
        energy, proposed, derivatives = trajectory(position, gradients, momentum)
        is_accepted = energy - (value - _kinetic(momentum)) > threshold
        position = _chosen(is_accepted, proposed, position)
        value, *gradients = _chosen(is_accepted, derivatives, (value, *gradients))
    return position


def _chosen(is_first, first, second):
    """By rows: tuples of (M, …) tensors."""
    return tuple(
        tf.where(tf.reshape(is_first, [-1] + [1] * (one.shape.rank - 1)), one, other)
        for one, other in zip(first, second, strict=True)
    )


def _moved(parts, steps, size):
    return tuple(part + size * step for part, step in zip(parts, steps, strict=True))


def _kinetic(momentum):
    return tf.add_n([tf.reduce_sum(tf.square(part), axis=1) for part in momentum]) / 2


def _draws(keys, steps, units):
    """Standard normal draws of each row by its key alone: (M, 2) -> (M, steps, units)."""
    shape = [steps, units]
    return tf.map_fn(
        lambda key: tf.random.stateless_normal(shape, key),
        keys,
        fn_output_signature=tf.TensorSpec(shape, tf.float32),
    )


def _uniform(normal):
    """The normal's distribution function: a uniform draw from a standard normal one."""
    return (1 + tf.math.erf(normal / 2**0.5)) / 2
