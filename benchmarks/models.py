"""The model that benchmarks train: untrained, and ready for `train_step`."""


def compiled_model(shape, dims, dtype="float32"):
    """A Seatbelt-VAE with β = 6 and Adam, whose variables are all there."""
    import keras

    from seatbelt_tf import SeatbeltVAE

    model = SeatbeltVAE(image_shape=shape, latent_dims=dims, beta=6.0, dtype=dtype)
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    model.optimizer.build(model.trainable_variables)
    return model
