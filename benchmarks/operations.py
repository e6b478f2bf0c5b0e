"""Floating-point operations that the networks need, counted from their sizes."""

from seatbelt_tf import presets


def step_flops(image_shape, latent_dims):
    """Floating-point operations that a training step needs for one image.

    Multiply-adds of convolutions and dense layers count 2: once forward, once for the gradient by
    the weights and once for that by the inputs, except the images. Products with padding count,
    as is usual; everything else (densities, total correlation, Adam) does not.
    """
    *halving, features = presets.filters_for(image_shape)
    size, incoming = image_shape[0], image_shape[2]
    first, others = 0, 0
    for index, count in enumerate(halving):
        size //= 2
        products = size * size * 16 * incoming * count
        # The decoder's mirror image of this layer needs as many.
        first, others = (products, products) if index == 0 else (first, others + 2 * products)
        incoming = count
    others += 2 * size * size * incoming * features
    others += sum(latent_dims) * features + 2 * features * latent_dims[0]
    for below, units, width in zip(
        latent_dims[:-1], latent_dims[1:], presets.HIDDEN_SIZES, strict=False
    ):
        others += (below + features + width + 2 * units) * width
        others += (units + width + 2 * below) * width
    return 2 * (2 * first + 3 * others)


def evaluation_flops(shape, dims):
    """Of an attack's evaluation for one image: the inference network forward and back to pixels."""
    *halving, features = presets.filters_for(shape)
    size, incoming, products = shape[0], shape[2], 0
    for count in halving:
        size //= 2
        products += size * size * 16 * incoming * count
        incoming = count
    products += size * size * incoming * features + 2 * features * dims[0]
    for below, units, width in zip(dims[:-1], dims[1:], presets.HIDDEN_SIZES, strict=False):
        products += (below + features + width + 2 * units) * width
    return 4 * products
