"""The classifiers behind a VAE: their networks and their training, one recipe for all."""

import keras
import numpy as np

BATCH_SIZE = 256
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-2


def train(task, features, labels, classes, steps, seed, shown):
    """Trains a classifier.

    Args:
        task: one of `downstream.TASKS`.
        features: (N, …) what it sees of the images.
        labels: (N,) integers from 0 to K - 1.
        classes: K.
        steps: of `BATCH_SIZE` images.
        seed: of the weights and the order.
        shown: (batches, task) -> batches, to show progress.

    Returns:
        A function of features (M, …) that gives logits (M, K).
    """
    # One number for all units and pixels: those that hardly vary must not be blown up, because an
    # attack may move them.
    centre = features.mean(axis=0)
    spread = np.sqrt(np.mean(np.square(features - centre))) or 1.0

    def standardised(values):
        return (values - centre) / spread

    network = _network(task, features.shape[1:], classes, seed)
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    network.compile(
        keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    rng = np.random.default_rng(seed)
    epochs = -(-steps * BATCH_SIZE // len(labels))
    order = np.concatenate([rng.permutation(len(labels)) for _ in range(epochs)])
    for batch in shown(order[: steps * BATCH_SIZE].reshape(steps, BATCH_SIZE), task):
        network.train_on_batch(standardised(features[batch]), labels[batch])
    return lambda values: network(standardised(values))


def _network(task, shape, classes, seed):
    layers = keras.layers
    seeds = keras.random.SeedGenerator(seed)
    options = {"kernel_initializer": keras.initializers.HeNormal(seeds)}
    if task == "conv_reconstruction":
        stack = []
        for filters, size, stride in ((64, 4, 4), (128, 3, 2)):
            stack += [
                layers.Conv2D(filters, size, stride, "same", use_bias=False, **options),
                layers.BatchNormalization(momentum=0.9),
                layers.ReLU(),
            ]
        stack += [
            layers.Dropout(0.3, seed=seed),
            layers.Conv2D(classes, 1, **options),
            layers.GlobalAveragePooling2D(),
        ]
    else:
        width = 1024 if task == "mlp_latents" else 256
        stack = [
            layers.Flatten(),
            layers.Dense(width, "relu", **options),
            layers.Dropout(0.5, seed=seed),
            layers.Dense(classes, **options),
        ]
    return keras.Sequential([layers.Input(shape), *stack])
