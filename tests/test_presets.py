"""The paper's sizes, and options without TensorFlow."""

import pytest

from seatbelt_tf import presets


@pytest.mark.parametrize(
    ("shape", "filters"),
    [
        ((64, 64, 1), (32, 32, 64, 64, 512)),
        ((64, 64, 3), (64, 64, 128, 128, 512)),
        ((32, 32, 3), (64, 64, 128, 128, 512)),
        ((128, 128, 1), (32, 32, 64, 64, 64, 512)),
    ],
)
def test_filters_are_the_papers_with_further_stages_for_larger_images(shape, filters):
    assert presets.filters_for(shape) == filters


def test_fewer_layers_take_the_last_of_the_papers_sizes():
    assert presets.preset_sizes("sprites", 5).latent_dims == (96, 48, 24, 12, 6)
    assert presets.preset_sizes("sprites", 2) == presets.Preset((64, 64, 1), (12, 6))
    assert presets.preset_sizes("cifar10", 1) == presets.Preset((32, 32, 3), (32,))
    with pytest.raises(ValueError, match="at most 4 for celeb_a"):
        presets.preset_sizes("celeb_a", 5)
    with pytest.raises(ValueError, match="celeb_a"):
        presets.preset_sizes("celeba", 1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (((4,), "tc", 1), "VAE"),
        (((4,), "tc", 2.0), "β-TCVAE"),
        (((4,), "kl", 2.0), "β-VAE"),
        (((4, 2), "tc", 1.0), "hierarchical VAE"),
        (((4, 2), "tc", 2.0), "Seatbelt-VAE"),
        (((4, 2), "kl", 2.0), "KL-penalised hierarchical VAE"),
        (((4, 2), "tc", 2.0, "bottom"), "TC-penalised DLGM"),
        (((4, 2), "tc", 1, "bottom"), "DLGM"),
    ],
)
def test_a_member_of_the_family_has_its_name(options, expected):
    assert presets.member(*options) == expected


def test_options_are_brought_to_their_own_types_and_others_left_alone():
    given = {"image_shape": [32, 32, 1], "latent_dims": [4, 2], "beta": 2, "name": "own"}
    found = presets.check_model_options(given)
    assert found == {
        "image_shape": (32, 32, 1),
        "latent_dims": (4, 2),
        "beta": 2.0,
        "name": "own",
    }
    assert isinstance(found["beta"], float)
    with pytest.raises(ValueError, match="dataset_size"):
        presets.check_model_options({"tc_estimator": "mss"})
