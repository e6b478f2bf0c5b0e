"""What Keras asks of a model that is fitted: checks of what it is given, steps and metrics."""

import inspect
import math
import warnings
from typing import Any

import keras
import tensorflow as tf

from seatbelt_tf import checks, draws, guards, pixels, replicas


class Fitting(keras.Model):
    """The training of `SeatbeltVAE`, whose networks and objective it knows by their names alone."""

    def _make_metrics(self):
        names = ["loss", "elbo", "log_likelihood"]
        names += [f"kl_layer_{layer + 1}" for layer in range(len(self.latent_dims))]
        names += ["total_correlation"]
        self._means = {name: keras.metrics.Mean(name=name) for name in names}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means shown while fitting, all in nats an image."""
        return list(self._means.values())

    def fit(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """Trains the model on images: see `keras.Model.fit`.

        Args:
            x: (N, H, W, C) float array in [-1, 1], or a `tf.data.Dataset` of batches of them;
                labels beside them are ignored.
            y: ignored.
            batch_size: images a step, of an array.
            *args: as Keras has them.
            **kwargs: as Keras has them.

        Warns:
            UserWarning: the total correlation is penalised but the batch is too small for it, or
                the images seem to be in [0, 1].

        Raises:
            ValueError: before the first step: wrong shape or type, no images, fewer images than
                a batch, pixels that are not finite or not in [-1, 1], weights of images, a
                loss, or batches that `accumulate` does not divide on every replica (of a dataset
                the first is looked at).
        """
        # Overridden, `compile` would not be called when a model is loaded.
        if self.loss is not None:
            raise checks.invalid("loss", "None: the objective is the model's own", repr(self.loss))
        given = inspect.signature(super().fit).bind(x, y, batch_size, *args, **kwargs).arguments
        for weights in ("sample_weight", "class_weight"):
            if given.get(weights) is not None:
                raise checks.invalid(weights, "None: images are weighed equally", "weights")
        images_a_step, range_warning = pixels.check_data(x, batch_size, self.image_shape, "x")
        last, validation = 0, given.get("validation_data")
        if not isinstance(x, tf.data.Dataset):
            share = given.get("validation_split") or 0.0
            # Keras looks at either, the data first.
            trained = len(x) if validation is not None else math.floor(len(x) * (1 - share))
            last = trained % images_a_step
        parts = checks.positive_integer("accumulate", self.accumulate)
        whole = parts * self.distribute_strategy.num_replicas_in_sync if parts > 1 else 1
        if images_a_step % whole or last % whole:
            sizes = f"{images_a_step}{f', the last {last}' if last else ''}"
            raise checks.invalid("accumulate", f"a divisor of all batches ({sizes} images)", parts)
        if not self.is_adapted():
            raise checks.invalid("model", "adapt(images) called before fit", "not adapted")
        for message in (self.small_batch_warning(images_a_step), range_warning):
            if message:
                warnings.warn(message, stacklevel=2)
        if isinstance(x, tf.data.Dataset):
            # Keras shuffles arrays only, and warns when its own default says otherwise.
            kwargs.setdefault("shuffle", False)
        if validation is not None:
            is_pair = isinstance(validation, (tuple, list))
            images = validation[0] if is_pair else validation
            pixels.check_data(images, None, self.image_shape, "validation_data")
        return super().fit(x, y, batch_size, *args, **kwargs)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Mean ELBO and its parts over images: see `keras.Model.evaluate`.

        Args:
            x: (N, H, W, C) float array in [-1, 1], or a `tf.data.Dataset`, as in `fit`.
            *args: as Keras has them.
            **kwargs: as Keras has them.

        Raises:
            ValueError: see `fit`.
        """
        pixels.check_data(x, None, self.image_shape, "x")
        return super().evaluate(x, *args, **kwargs)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update from a (M, H, W, C) batch: on each replica, its part of the global batch."""
        images = self._batch(data)
        step = tf.identity(self.optimizer.iterations)
        statistics = self.non_trainable_variables
        with pixels.assert_pixels(images, "at step", step):
            before = [tf.identity(variable.value) for variable in statistics]
            noise = self._noise(tf.shape(images)[0], draws.TRAINING, self.seed, step)
            with tf.GradientTape() as tape:
                key = draws.key(draws.DEFENCES, self.seed, step)
                terms = self._defences.training_terms(self, images, noise, key)
                loss = self.optimizer.scale_loss(terms.loss)
            gradients = tape.gradient(loss, self.trainable_variables)
        # A loss scale is found by letting gradients overflow.
        is_scaled = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        checked = () if is_scaled else gradients
        with guards.assert_finite(_by_name(terms), checked, step, statistics, before):
            self.optimizer.apply(gradients, self.trainable_variables)
            return self._update_metrics(terms)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The terms of the objective on a (M, H, W, C) batch, without an update."""
        images = self._batch(data)
        # Images seen since the metrics were reset: other noise for every batch of one pass, the
        # same noise in every pass.
        seen = tf.identity(self._means["elbo"].count)
        with pixels.assert_pixels(images, "after so many good ones:", seen):
            noise = self._noise(tf.shape(images)[0], draws.EVALUATION, self.seed, seen)
            return self._update_metrics(self._objective(images, noise, training=False))

    def _batch(self, data):
        images, _, weights = keras.utils.unpack_x_y_sample_weight(data)
        if weights is not None:
            raise checks.invalid("sample_weight", "None: images are weighed equally", "weights")
        pixels.check_spec(images.shape, images.dtype, self.image_shape)
        return tf.cast(images, tf.float32)

    def small_batch_warning(self, batch_size: int) -> str | None:
        """Why a batch of this size is too small for the penalty on total correlation, or None.

        Below about 10·d_L images the minibatch estimate is dominated by each sample's own
        posterior, and penalising it acts like a β-VAE (Mathieu et al. 2019; appendix A.1).
        """
        needed = 10 * self.latent_dims[-1]
        if self.penalty != "tc" or self.beta == 1.0 or batch_size >= needed:
            return None
        return (
            f"A batch of {batch_size} is too small to estimate the total correlation of "
            f"{self.latent_dims[-1]} units: below about {needed} the penalty acts like a β-VAE's."
        )

    def _update_metrics(self, terms):
        values = _by_name(terms)
        # All are means over images; the loss is one number a batch.
        weights = {"loss": tf.shape(terms.elbo)[0]}
        for name, mean in self._means.items():
            mean.update_state(values[name], weights.get(name))
        return {name: mean.result() for name, mean in self._means.items()}


def _by_name(terms):
    """What is reported of `ObjectiveTerms`: () or (M,) tensors by name."""
    return {
        "loss": terms.loss * replicas.count(),
        "elbo": terms.elbo,
        "log_likelihood": terms.log_likelihood,
        "total_correlation": terms.total_correlation,
        **{f"kl_layer_{layer + 1}": kl for layer, kl in enumerate(terms.kl)},
    }
