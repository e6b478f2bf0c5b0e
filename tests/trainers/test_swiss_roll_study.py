"""The Swiss roll's models: total correlation is what it is told to penalise."""

import numpy as np
import pytest

from trainers.studies import swiss_roll


@pytest.fixture(scope="module")
def trained():
    return {penalty: swiss_roll.train(32.0, penalty, steps=100) for penalty in ("kl", "tc")}


def test_a_kl_penalty_costs_more_reconstruction_than_one_on_total_correlation(trained):
    assert trained["kl"]["kl"] < 0.5 * trained["tc"]["kl"]
    assert trained["tc"]["squared_error"] < 0.7 * trained["kl"]["squared_error"]


def test_what_is_drawn_belongs_to_the_same_points(trained):
    found = trained["tc"]
    assert found["latents"].shape == (2000, 2)
    assert found["reconstructions"].shape == (2000, 3)
    # Reconstructions turn with the sheet's angle: t from 1.5π to 4.5π, labelled 0 to 63.
    t = 1.5 * np.pi * (1 + 2 * (found["angle"] + 0.5) / 64)
    place = np.stack([t * np.cos(t), t * np.sin(t)], axis=1) / (4.5 * np.pi)
    apart = np.linalg.norm(found["reconstructions"][:, [0, 2]] - place, axis=1)
    shuffled = np.linalg.norm(found["reconstructions"][:, [0, 2]] - place[::-1], axis=1)
    assert apart.mean() < 0.6 * shuffled.mean()
