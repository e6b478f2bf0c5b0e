"""The Seatbelt-VAE family as one Keras model."""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import keras
import tensorflow as tf
from numpy.typing import ArrayLike

from seatbelt_tf import (
    checks,
    draws,
    gaussians,
    micro_batches,
    networks,
    objectives,
    pixels,
    presets,
)
from seatbelt_tf.defences import mcmc, stack
from seatbelt_tf.fitting import Fitting

# Narrow initial posteriors let the latents carry information from the first step on; wide ones
# (stddev 1) drown it in noise and the model starts on a long plateau (docs/decisions.md).
INITIAL_POSTERIOR_STDDEV = 0.1
INITIAL_PRIOR_STDDEV = 1.0
_KERAS_ARGUMENTS = ("name", "dtype", "trainable")


class Inference(NamedTuple):
    """What the model infers of a batch of images; every field has one entry a layer, bottom first.

    Attributes:
        posteriors: `Gaussian`s of (M, d_i): q(z^1 | x), q(z^(i+1) | z^i, x).
        samples: (M, d_i) draws from them, each the ancestor of the next layer.
        priors: `Gaussian`s of (M, d_i): p(z^i | z^(i+1)) at the samples; Normal(0, I) at the top.
    """

    posteriors: tuple[gaussians.Gaussian, ...]
    samples: tuple[tf.Tensor, ...]
    priors: tuple[gaussians.Gaussian, ...]


@keras.saving.register_keras_serializable(package="seatbelt_tf")
class SeatbeltVAE(Fitting):
    """A hierarchical VAE with penalised total correlation (Willetts et al., ICLR 2021).

    p(x, z) = p(x | z^1 … z^L) Π_i p(z^i | z^(i+1)), p(z^L) = Normal(0, I)   (equation 3)
    q(z | x) = q(z^1 | x) Π_i q(z^(i+1) | z^i, x)                            (equation 4)
    training maximises E log p(x, z)/q(z | x) − (β − 1) TC(z^L)              (equation 9)

    The members of the family:

    | member | latent_dims | penalty | beta | likelihood_from |
    |---|---|---|---|---|
    | VAE | (d,) | tc | 1 | all |
    | β-VAE | (d,) | kl | β | all |
    | β-TCVAE | (d,) | tc | β | all |
    | hierarchical VAE | (d_1 … d_L) | tc | 1 | all |
    | Seatbelt-VAE | (d_1 … d_L) | tc | β | all |
    | TC-penalised DLGM | (d_1 … d_L) | tc | β | bottom |

    Images are float32, (M, H, W, C) in [-1, 1]. Calling the model gives the mean reconstruction
    with every latent at its mean, (M, H, W, C), which is deterministic.

    Example:
        model = SeatbeltVAE(latent_dims=(48, 24, 12, 6), beta=6.0, dataset_size=len(images))
        model.compile(optimizer="adam")
        model.fit(images, batch_size=256, epochs=10)
        (mean, stddev), *_ = model.encode(images[:8])      # each (8, 48)

    Args:
        image_shape: (H, W, C): square, a power of two from 32 on, one or three channels.
        latent_dims: units by layer, bottom (nearest the data) first, one to five layers.
        beta: β ≥ 0; 1 leaves the ELBO.
        dataset_size: N, the number of training images; only `tc_estimator="mss"` needs it.
        penalty: what β weighs: "tc" of the top layer, or "kl" of all layers (β-VAE).
        likelihood_from: "all": p(x | z^1 … z^L); "bottom": p(x | z^1), the DLGM.
        inference: "skip": q(z^(i+1) | z^i, x); "chain": q(z^(i+1) | z^i).
        kl_estimator: "mixed", "sampled" or "analytic" (`objectives.divergences_by_unit`).
        tc_estimator: "mws" or "mss" (`objectives.total_correlation`).
        free_bits: nats a unit below which the batch mean of a lower layer's KL is not reduced.
        likelihood_scale: standard deviation of p(x | z), pixels in [-1, 1].
        defences: dict of a defence's name to its options (`defences.settings`), or None.
        seed: of the initial weights and of all noise in training.
        **kwargs: `name` and `dtype` of `keras.Model`; dtype="mixed_bfloat16" keeps densities,
            divergences and total correlation in float32.

    Attributes:
        accumulate: parts, of equal size, in which training computes the convolutions of a batch, to
            save memory; 1 unless it is set.

    Raises:
        ValueError: any of these is out of range.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (64, 64, 1),
        latent_dims: Sequence[int] = (48, 24, 12, 6),
        beta: float = 6.0,
        dataset_size: int | None = None,
        penalty: str = "tc",
        likelihood_from: str = "all",
        inference: str = "skip",
        kl_estimator: str = "mixed",
        tc_estimator: str = "mws",
        free_bits: float = 0.125,
        likelihood_scale: float = 0.1,
        defences: dict[str, dict[str, Any]] | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        *own, _ = inspect.signature(SeatbeltVAE).parameters
        for name in kwargs:
            checks.one_of("argument", name, [*own, *_KERAS_ARGUMENTS])
        # Networks cast what they are given themselves: densities see the images in float32.
        super().__init__(autocast=False, **kwargs)
        # Keras would choose XLA on an accelerator, which drops the checks of the training step.
        self.supports_jit = False
        options = presets.check_model_options(
            {
                "image_shape": image_shape,
                "latent_dims": latent_dims,
                "beta": beta,
                "dataset_size": dataset_size,
                "penalty": penalty,
                "likelihood_from": likelihood_from,
                "inference": inference,
                "kl_estimator": kl_estimator,
                "tc_estimator": tc_estimator,
                "free_bits": free_bits,
                "likelihood_scale": likelihood_scale,
                "defences": defences,
                "seed": seed,
            }
        )
        self.accumulate = 1
        self._options = tuple(options)
        for name, value in options.items():
            setattr(self, name, value)
        self._built_of = options
        self._traced_of = None
        self._defences = stack.Defences(self.defences)
        self._make_networks()
        self._defences.build(self)
        self._make_metrics()
        self.build((None, *self.image_shape))

    @classmethod
    def from_preset(cls, name: str, layers: int = 4, beta: float = 6.0, **options: Any) -> Self:
        """A model of the paper's sizes for a dataset (appendix G, equations 44 to 47).

        Args:
            name: a dataset: one of `presets.PRESETS`.
            layers: L, as many as the paper's list of latent sizes has at most.
            beta: β.
            **options: any other argument of the class.

        Raises:
            ValueError: unknown name, or more layers than sizes.
        """
        preset = presets.preset_sizes(name, layers)
        return cls(
            **{
                "image_shape": preset.image_shape,
                "latent_dims": preset.latent_dims,
                "beta": beta,
                **options,
            }
        )

    def _make_networks(self):
        policy, seed = self.dtype_policy, draws.first_seed_of_weights(self.seed)
        defended = self._defences.networks(self)
        encoder, decoder, *others = (
            seed + 100 * place for place in range(2 + 3 * len(presets.HIDDEN_SIZES))
        )
        posterior_seeds, prior_seeds, head_seeds = others[0::3], others[1::3], others[2::3]
        self.encoder = defended.convolutional_encoder(self.image_shape, policy, encoder)
        features = self.encoder.output_shape[-1]
        self.posterior_networks, self.posterior_heads = [], []
        self.prior_networks, self.prior_heads = [], []
        for layer, units in enumerate(self.latent_dims):
            if layer > 0:
                below = self.latent_dims[layer - 1]
                width = presets.HIDDEN_SIZES[layer - 1]
                inputs = below + features if self.inference == "skip" else below
                self.posterior_networks.append(
                    defended.conditional_mlp(inputs, width, policy, posterior_seeds[layer])
                )
                self.prior_networks.append(
                    networks.conditional_mlp(units, width, policy, prior_seeds[layer])
                )
                self.prior_heads.append(
                    networks.GaussianHead(below, INITIAL_PRIOR_STDDEV, head_seeds[layer] + 1)
                )
                self.prior_heads[-1].build((None, width))
            head = defended.GaussianHead if layer else defended.lowest_head
            self.posterior_heads.append(head(units, INITIAL_POSTERIOR_STDDEV, head_seeds[layer]))
            self.posterior_heads[-1].build((None, width if layer else features))
        inputs = sum(self.latent_dims) if self.likelihood_from == "all" else self.latent_dims[0]
        self.decoder = defended.convolutional_decoder(inputs, self.image_shape, policy, decoder)

    def build(self, input_shape: Any) -> None:
        """Every layer is built by the constructor: the shape is checked, nothing is made."""
        pixels.check_spec(tf.TensorShape(input_shape), tf.float32, self.image_shape, "input")
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), **{name: getattr(self, name) for name in self._options}}

    def call(self, inputs: ArrayLike, training: bool = False) -> tf.Tensor:
        """The mean reconstruction with every latent at its mean: (M, H, W, C) -> the same.

        Raises:
            ValueError: see `pixels.check_images`.
        """
        inputs = pixels.check_images(inputs, self.image_shape, "inputs")
        inference = self._infer(inputs, None, training)
        if not training:
            inference = self._defences.inferred(self, inputs, inference, None)
        return self._decode(inference.samples, training)

    def encode(self, images: ArrayLike) -> tuple[gaussians.Gaussian, ...]:
        """Posterior means and standard deviations by layer, ancestors at their means.

        Args:
            images: (M, H, W, C) in [-1, 1].

        Returns:
            A tuple of (mean, stddev) `Gaussian`s, (M, d_i) each, bottom layer first.

        Raises:
            ValueError: see `pixels.check_images`.
        """
        return self.posteriors(pixels.check_images(images, self.image_shape))

    def embed(self, images: ArrayLike) -> tf.Tensor:
        """What other systems are to read of images: `embedding` of their posteriors.

        Args:
            images: (M, H, W, C) in [-1, 1].

        Returns:
            (M, Σ d_i) float32.

        Raises:
            ValueError: see `pixels.check_images`.
        """
        return self.embedding(self.encode(images))

    def embedding(self, posteriors: Sequence[gaussians.Gaussian]) -> tf.Tensor:
        """The means of all layers, concatenated; the defence `pca` puts its own in units of pixels.

        Those with `pca` and L = 1 move by ‖d‖₂ at most when the image moves by d.

        Args:
            posteriors: tuple of `Gaussian`s, (M, d_i) each, as `encode` returns them.

        Returns:
            (M, Σ d_i) float32.
        """
        means = tuple(posterior.mean for posterior in posteriors)
        return tf.concat(self._defences.embedding(means), axis=1)

    def infer(self, images: ArrayLike, seed: int = 0) -> Inference:
        """Posteriors, samples drawn down the chain, and priors at those samples.

        Args:
            images: (M, H, W, C) in [-1, 1].
            seed: the same seed and batch give the same draws.

        Returns:
            `Inference`.

        Raises:
            ValueError: see `pixels.check_images`.
        """
        images = pixels.check_images(images, self.image_shape)
        return self._infer(
            images, self._noise(tf.shape(images)[0], draws.ON_REQUEST, checks.seed("seed", seed))
        )

    def decode(self, latents: Sequence[ArrayLike]) -> tf.Tensor:
        """Mean images of latents of every layer.

        Args:
            latents: tuple of (M, d_i), bottom layer first.

        Returns:
            (M, H, W, C) float32; not clipped to [-1, 1].

        Raises:
            ValueError: another number of layers, other shapes, no rows, or numbers that are not
                floating-point and (of eager tensors) finite.
        """
        tensors = [_checked_latent(latent) for latent in latents]
        expected = [tf.TensorShape([None, units]) for units in self.latent_dims]
        fits = len(tensors) == len(expected) and all(
            tensor.shape.is_compatible_with(shape)
            for tensor, shape in zip(tensors, expected, strict=True)
        )
        counts = {tensor.shape[0] for tensor in tensors if tensor.shape.rank} - {None}
        if not fits or len(counts) > 1 or 0 in counts:
            raise checks.invalid(
                "latents.shape",
                f"one (M, d) tensor a layer, d in {self.latent_dims}",
                [tuple(tensor.shape) for tensor in tensors],
            )
        return self._decode(tensors)

    def sample(self, count: int, seed: int = 0) -> tf.Tensor:
        """Mean images of latents drawn from the prior: -> (count, H, W, C) float32.

        Args:
            count: how many.
            seed: the same seed gives the same images.

        Raises:
            ValueError: `count` is not a positive integer.
        """
        count = checks.positive_integer("count", count)
        return self._sample(self._noise(count, draws.PRIOR, checks.seed("seed", seed)))

    def elbo(self, images: ArrayLike, seed: int = 0) -> tf.Tensor:
        """Evidence lower bound without penalty or free bits, from one draw of the latents.

        Estimated with closed-form KL for the top layer and log-ratios at the samples below it
        (all sampled when the model's kl_estimator is "sampled"): unbiased.

        Args:
            images: (M, H, W, C) in [-1, 1].
            seed: the same seed and batch give the same draws.

        Returns:
            (M,) nats.

        Raises:
            ValueError: see `pixels.check_images`.
        """
        images = pixels.check_images(images, self.image_shape)
        noise = self._noise(tf.shape(images)[0], draws.ON_REQUEST, checks.seed("seed", seed))
        inference = self._infer(images, noise)
        likelihood = self.log_likelihood(images, inference.samples)
        return likelihood - objectives.elbo_divergence(inference, self.kl_estimator)

    def posteriors(
        self, images: tf.Tensor, noise: Sequence[tf.Tensor] | None = None
    ) -> tuple[gaussians.Gaussian, ...]:
        """Posteriors by layer with ancestors at their means or at given draws (for attacks).

        Nothing is checked, so that it can be differentiated and compiled.

        Args:
            images: (M, H, W, C) float32.
            noise: tuple over layers of (S, d_i) standard normal draws, the same for every image;
                None for ancestors at their means.

        Returns:
            A tuple of `Gaussian`s: (M, S, d_i), or (M, d_i) without noise.
        """
        if noise is None:
            inference = self._infer(images, None)
            return self._defences.inferred(self, images, inference, None).posteriors
        draws = noise[0].shape[0]
        rows = tf.shape(images)[0]
        tiled = tuple(tf.tile(draw, [rows, 1]) for draw in noise)
        inference = self._infer_from(tf.repeat(self.encoder(images), draws, axis=0), tiled, False)
        repeated = tf.repeat(images, draws, axis=0)
        posteriors = self._defences.inferred(self, repeated, inference, tiled).posteriors
        return tf.nest.map_structure(
            lambda t: tf.reshape(t, [rows, draws, t.shape[-1]]), posteriors
        )

    def surrogate(self) -> "SeatbeltVAE | None":
        """For attacks (see `attacks.Attackable`): the model without its chain, None without one."""
        return mcmc.without_chain(self) if "mcmc" in self.defences else None

    def log_likelihood(self, images: tf.Tensor, latents: Sequence[tf.Tensor]) -> tf.Tensor:
        """log p(x | z) of images given latents of every layer, unchecked (for attacks).

        Args:
            images: (M, H, W, C) float32.
            latents: tuple of (M, d_i), bottom layer first.

        Returns:
            (M,) nats.
        """
        return objectives.log_likelihood(images, self._decode(latents), self.scale())

    def scale(self) -> float | tf.Tensor:
        """The standard deviation of p(x | z): likelihood_scale, unless a defence learns it."""
        return self._defences.scale(self.likelihood_scale)

    def adapt(self, images: ArrayLike) -> None:
        """Gives the defences what they take from training images; `pca` needs it before training.

        Args:
            images: (N, H, W, C) in [-1, 1], as many as memory allows up to ten thousand or so.

        Raises:
            ValueError: see `pixels.check_images`, or fewer images than components.
        """
        self._defences.adapt(self, pixels.check_images(images, self.image_shape).numpy())

    def is_adapted(self) -> bool:
        """Whether the model may be trained: `adapt` was called, or no defence needs it."""
        return self._defences.is_adapted()

    def _objective(self, images, noise, training, shown=None):
        """The objective's terms for images of which the encoder sees `shown`, or themselves."""
        inference = self._infer(images if shown is None else shown, noise, training)
        return objectives.evaluate_objective(
            images,
            inference,
            self._decode(inference.samples, training),
            beta=self.beta,
            penalty=self.penalty,
            likelihood_scale=self.scale(),
            kl_estimator=self.kl_estimator,
            tc_estimator=self.tc_estimator,
            free_bits_minimum=self.free_bits,
            dataset_size=self.dataset_size,
        )

    def _noise(self, rows, purpose, seed, step=0):
        """Standard normal draws by layer: see `draws.normal`."""
        return draws.normal(rows, self.latent_dims, purpose, seed, step)

    def _infer(self, images, noise, training=False):
        """`Inference` with the given standard normal draws by layer, or at the means for None."""
        return self._infer_from(self._apply(self.encoder, images, training), noise, training)

    def _apply(self, network, inputs, training):
        if not training:
            return network(inputs)
        return micro_batches.apply(network, inputs, self.accumulate)

    def _infer_from(self, features, noise, training):
        """`_infer` from the encoder's features, (M, f)."""
        posteriors: list[gaussians.Gaussian] = []
        samples: list[tf.Tensor] = []
        for layer, head in enumerate(self.posterior_heads):
            hidden = features
            if layer > 0:
                hidden = tf.cast(samples[-1], features.dtype)
                if self.inference == "skip":
                    hidden = tf.concat([hidden, features], axis=1)
                hidden = self.posterior_networks[layer - 1](hidden, training=training)
            posterior = self._defences.posterior(head(hidden))
            posteriors.append(posterior)
            draw = posterior.mean
            if noise is not None:
                draw += posterior.stddev * noise[layer]
            samples.append(draw)
        return Inference(tuple(posteriors), tuple(samples), self.priors(samples, training))

    def priors(
        self, latents: Sequence[tf.Tensor], training: bool = False
    ) -> tuple[gaussians.Gaussian, ...]:
        """p(z^i | z^(i+1)) by layer, Normal(0, I) at the top, unchecked (for attacks).

        Args:
            latents: tuple of (M, d_i), bottom layer first.
            training: whether batch normalisation uses the batch's own statistics.

        Returns:
            A tuple of `Gaussian`s of (M, d_i).
        """
        priors = [self._prior(layer, above, training) for layer, above in enumerate(latents[1:])]
        return (*priors, gaussians.standard(latents[-1]))

    def _prior(self, layer, above, training):
        """p(z^i | z^(i+1)) for layer index i - 1: (M, d_(i+1)) -> `Gaussian` of (M, d_i)."""
        return self.prior_heads[layer](self.prior_networks[layer](above, training=training))

    def _sample(self, noise):
        """Mean images from the prior with the given standard normal draws by layer."""
        latents = [noise[-1]]
        for layer in reversed(range(len(self.latent_dims) - 1)):
            prior = self._prior(layer, latents[0], False)
            latents.insert(0, prior.mean + prior.stddev * noise[layer])
        return self._decode(latents)

    def _decode(self, latents, training=False):
        used = latents if self.likelihood_from == "all" else latents[:1]
        return self._apply(self.decoder, tf.concat(used, axis=1), training)


def _checked_latent(latent):
    """A layer's latents as a float32 tensor."""
    latent = tf.convert_to_tensor(latent)
    if not latent.dtype.is_floating:
        raise checks.invalid("latents.dtype", "floating-point numbers", latent.dtype.name)
    latent = tf.cast(latent, tf.float32)
    if hasattr(latent, "numpy") and not tf.reduce_all(tf.math.is_finite(latent)):
        raise checks.invalid("latents", "finite numbers", "NaN or infinity among them")
    return latent
