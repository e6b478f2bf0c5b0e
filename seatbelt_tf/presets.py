"""The paper's sizes (appendix G) and the model's options, checked without TensorFlow."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from seatbelt_tf import checks
from seatbelt_tf.defences import settings

HIDDEN_SIZES = (1024, 512, 256, 128, 64)


class Preset(NamedTuple):
    """The paper's sizes for one dataset.

    Attributes:
        image_shape: (H, W, C).
        latent_dims: units by layer of the deepest model, bottom first; L layers use the last L.
    """

    image_shape: tuple[int, int, int]
    latent_dims: tuple[int, ...]


_SMALL, _LARGE = (96, 48, 24, 12, 6), (256, 128, 64, 32)
# The paper gives sizes for dSprites, Chairs, 3D Faces and CelebA; the other RGB data take CelebA's.
PRESETS = {
    "sprites": Preset((64, 64, 1), _SMALL),
    "dsprites": Preset((64, 64, 1), _SMALL),
    "chairs": Preset((64, 64, 1), _SMALL),
    "faces3d": Preset((64, 64, 1), _SMALL),
    "celeb_a": Preset((64, 64, 3), _LARGE),
    "cifar10": Preset((32, 32, 3), _LARGE),
    "svhn_cropped": Preset((32, 32, 3), _LARGE),
}
KL_ESTIMATORS = ("mixed", "sampled", "analytic")
TC_ESTIMATORS = ("mws", "mss")
PENALTIES = ("tc", "kl")
LIKELIHOODS = ("all", "bottom")
INFERENCES = ("skip", "chain")
# The paper's a, appendix F.
NOISE_SCALES = (0.1, 0.5, 1.0)
# What certificates are asked for: L2 radii, pixels in [-1, 1]; tolerances, as shares of the median
# distance of so many pairs of images (in the trial of defences of those that it attacks); the
# probability of what is proven of samples.
CERTIFIED_RADII = (0.1, 0.5, 1.0)
CERTIFIED_SHARES = (0.125, 0.25, 0.5)
CERTIFIED_PAIRS = 20
CERTIFIED_PROBABILITY = 0.9
# Of attacks that nobody has chosen otherwise; the same settings are the same battery, whatever
# program attacks.
USUAL_ATTACK = {"layers": "all", "draws": 4, "restarts": 0}
ATTACK_OBJECTIVES = ("latent_kl", "latent_w2", "latent_w2_squared", "output")


def member(
    latent_dims: Sequence[int], penalty: str, beta: float, likelihood_from: str = "all"
) -> str:
    """What a model of these options is called (README's table)."""
    if len(latent_dims) == 1:
        return "VAE" if beta == 1 else {"tc": "β-TCVAE", "kl": "β-VAE"}[penalty]
    if likelihood_from == "bottom":
        return "DLGM" if beta == 1 else f"{penalty.upper()}-penalised DLGM"
    if beta == 1:
        return "hierarchical VAE"
    return "Seatbelt-VAE" if penalty == "tc" else "KL-penalised hierarchical VAE"


def filters_for(image_shape: Sequence[int]) -> tuple[int, ...]:
    """Filters of the encoder's convolutions by the paper's rule: (H, W, C) -> a tuple of ints.

    {32, 32, 64, 64, 512} for one channel, {64, 64, 128, 128, 512} otherwise; images above 64×64
    get further stages of the widest kind in front of the last.
    """
    narrow, wide = (32, 64) if image_shape[2] == 1 else (64, 128)
    halvings = max(4, image_shape[0].bit_length() - 3)
    return (narrow, narrow, *[wide] * (halvings - 2), 512)


def preset_sizes(name: str, layers: int) -> Preset:
    """The paper's sizes for a dataset and depth (equations 44 to 47).

    Args:
        name: a key of `PRESETS`.
        layers: L.

    Returns:
        A `Preset` of which `latent_dims` are the last L of the paper's list.

    Raises:
        ValueError: unknown name, or more layers than the paper's list is long.
    """
    preset = PRESETS[checks.one_of("preset", name, PRESETS)]
    layers = checks.positive_integer("layers", layers)
    if layers > len(preset.latent_dims):
        raise checks.invalid("layers", f"at most {len(preset.latent_dims)} for {name}", layers)
    return preset._replace(latent_dims=preset.latent_dims[-layers:])


def check_model_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Normalised copies of `SeatbeltVAE`'s arguments, which see.

    Args:
        options: dict of some or all of the arguments.

    Returns:
        The same dict with numbers and tuples in their own types.

    Raises:
        ValueError: any of them is out of range.
    """
    checked = {
        name: _CHECKS[name](name, value) for name, value in options.items() if name in _CHECKS
    }
    if checked.get("tc_estimator") == "mss" and checked.get("dataset_size") is None:
        raise checks.invalid(
            "dataset_size", "the number of training images, which tc_estimator='mss' needs", None
        )
    return {**options, **checked}


def _image_shape(name, shape):
    try:
        height, width, channels = (checks.positive_integer(name, size) for size in shape)
    except (TypeError, ValueError):
        height = width = channels = 0
    if height != width or height < 32 or height & (height - 1) or channels not in (1, 3):
        raise checks.invalid(
            name, "(H, H, C) with H a power of two from 32 on and C 1 or 3", repr(shape)
        )
    return (height, width, channels)


def _latent_dims(name, dims):
    try:
        sizes = tuple(checks.positive_integer(name, size) for size in dims)
    except (TypeError, ValueError):
        sizes = ()
    if not 1 <= len(sizes) <= len(HIDDEN_SIZES):
        expected = f"a sequence of 1 to {len(HIDDEN_SIZES)} positive integers, as (48, 24)"
        raise checks.invalid(name, expected, repr(dims))
    return sizes


def _non_negative(name, value):
    return checks.finite_number(name, value, minimum=0)


def _optional_positive(name, value):
    return None if value is None else checks.positive_integer(name, value)


def _name_from(allowed):
    return lambda name, value: checks.one_of(name, value, allowed)


_CHECKS = {
    "image_shape": _image_shape,
    "latent_dims": _latent_dims,
    "beta": _non_negative,
    "dataset_size": _optional_positive,
    "penalty": _name_from(PENALTIES),
    "likelihood_from": _name_from(LIKELIHOODS),
    "inference": _name_from(INFERENCES),
    "kl_estimator": _name_from(KL_ESTIMATORS),
    "tc_estimator": _name_from(TC_ESTIMATORS),
    "free_bits": _non_negative,
    "likelihood_scale": lambda name, value: checks.finite_number(name, value, above=0),
    "defences": settings.check,
    "seed": checks.seed,
}
MODEL_OPTIONS = tuple(_CHECKS)
