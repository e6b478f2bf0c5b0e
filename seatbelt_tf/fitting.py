"""What Keras asks of a model that is fitted: checks of what it is given, steps and metrics."""

import inspect
import math
import warnings
from typing import Any

import keras
import tensorflow as tf

from seatbelt_tf import checks, draws, guards, pixels, replicas

_OF_THE_NETWORKS = ("image_shape", "latent_dims", "inference", "likelihood_from", "defences")


class Fitting(keras.Model):
    """The training of `SeatbeltVAE`, whose networks and objective it knows by their names alone."""

    _traced_of: dict[str, Any] | None

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
                loss or metrics, batches that replicas and `accumulate` do not divide (of a
                dataset the first is looked at), fewer images in `dataset_size` than there are, or
                an attribute that the networks were made by and that was set since.
        """
        self._check_compiled()
        given = inspect.signature(super().fit).bind(x, y, batch_size, *args, **kwargs).arguments
        for weights in ("sample_weight", "class_weight"):
            if given.get(weights) is not None:
                raise checks.invalid(weights, "None: images are weighed equally", "weights")
        images_a_step, range_warning = pixels.check_data(x, batch_size, self.image_shape, "x")
        trained, validation = images_a_step, given.get("validation_data")
        if not isinstance(x, tf.data.Dataset):
            share = given.get("validation_split") or 0.0
            # Keras looks at either, the data first.
            trained = len(x) if validation is not None else math.floor(len(x) * (1 - share))
        parts = checks.positive_integer("accumulate", self.accumulate)
        self._check_divided(trained, images_a_step, parts)
        if self.tc_estimator == "mss" and self.dataset_size < trained:
            received = self.dataset_size
            raise checks.invalid("dataset_size", f"at least the {trained} images given", received)
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
            size, _ = pixels.check_data(images, None, self.image_shape, "validation_data")
            size = given.get("validation_batch_size") or batch_size or size
            self._check_divided(_count(images, size), size)
        self._trace_again_if_changed()
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
        self._check_compiled()
        size, _ = pixels.check_data(x, None, self.image_shape, "x")
        given = inspect.signature(super().evaluate).bind(x, *args, **kwargs).arguments
        size = given.get("batch_size") or size
        self._check_divided(_count(x, size), size)
        self._trace_again_if_changed()
        return super().evaluate(x, *args, **kwargs)

    def _check_compiled(self):
        """Raises ValueError if `compile` was given what training would not look at."""
        # Overridden, `compile` would not be called when a model is loaded.
        given = self.get_compile_config() or {}
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if given.get(name) is not None:
                expected = "None: the objective and what is shown of it are the model's own"
                raise checks.invalid(name, expected, repr(given[name]))

    def _check_divided(self, images, images_a_step, parts=1):
        """Raises ValueError unless every batch gives each replica as many images in each part."""
        count = self.distribute_strategy.num_replicas_in_sync
        last = images % images_a_step
        if images_a_step % (parts * count) or last % (parts * count):
            sizes = f"{images_a_step}{f', the last {last}' if last else ''}"
            if parts > 1:
                expected = f"a divisor of all batches ({sizes} images)"
                raise checks.invalid("accumulate", expected, parts)
            expected = f"batches that {count} replicas divide"
            raise checks.invalid("batch_size", expected, f"{sizes} images")

    def _trace_again_if_changed(self):
        """Options are read when a step is traced: Keras would go on with the ones of the first."""
        now = {**{name: getattr(self, name) for name in self._options}, "parts": self.accumulate}
        for name in _OF_THE_NETWORKS:
            if now[name] != self._built_of[name]:
                expected = f"{self._built_of[name]}, which the networks were made by"
                raise checks.invalid(name, expected, repr(now[name]))
        if self._traced_of not in (None, now):
            self.train_function = self.test_function = None
        self._traced_of = now

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update from a (M, H, W, C) batch: on each replica, its part of the global batch."""
        images = self._batch(data)
        # Where an optimizer accumulates gradients its `iterations` stands still in between.
        optimizer: Any = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        step = tf.identity(optimizer._iterations)
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


def _count(images, size):
    """How many images an array has; as many as a batch, `size`, of a dataset."""
    return size if isinstance(images, tf.data.Dataset) else len(images)


def _by_name(terms):
    """What is reported of `ObjectiveTerms`: () or (M,) tensors by name."""
    return {
        "loss": terms.loss * replicas.count(),
        "elbo": terms.elbo,
        "log_likelihood": terms.log_likelihood,
        "total_correlation": terms.total_correlation,
        **{f"kl_layer_{layer + 1}": kl for layer, kl in enumerate(terms.kl)},
    }
