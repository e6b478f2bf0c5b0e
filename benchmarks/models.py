"""The model that benchmarks train, untrained and ready for `train_step`, and its encoding."""


def compiled_model(shape, dims, dtype="float32"):
    """A Seatbelt-VAE with β = 6 and Adam, whose variables are all there."""
    import keras

    from seatbelt_tf import SeatbeltVAE

    model = SeatbeltVAE(image_shape=shape, latent_dims=dims, beta=6.0, dtype=dtype)
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    model.optimizer.build(model.trainable_variables)
    return model


def compiled_encoding(model, images):
    """A compiled function without arguments: the means of all layers, (M, sum of d_i)."""
    import tensorflow as tf

    @tf.function(autograph=False)
    def encode():
        return tf.concat([posterior.mean for posterior in model.posteriors(images)], axis=1)

    return encode
