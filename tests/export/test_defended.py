"""A model whose defences change its inference answers, when served, as it does in Python."""

import numpy as np
import pytest
from serving import make_run

from export import cpp_loader, exporter

OTHERS = {"variance_floor": {"min_stddev": 0.2}, "learned_scale": {}}


@pytest.mark.parametrize("encoder", ["lipschitz", "pca"])
def test_a_defended_model_is_served_as_it_is(encoder, tmp_path):
    run, model = make_run(tmp_path / "run", latent_dims=(4, 3), defences={encoder: {}, **OTHERS})
    images = np.random.default_rng(0).uniform(-1, 1, (3, *model.image_shape)).astype(np.float32)
    with cpp_loader.Loader(exporter.export_run(run, tmp_path / "seatbelt")) as loader:
        encoded = loader.predict("encode", {"images": images})
        served = loader.predict("reconstruct", {"images": images})["reconstruction"]
    np.testing.assert_allclose(encoded["embedding"], model.embed(images), atol=1e-5)
    for layer, (mean, stddev) in enumerate(model.encode(images), 1):
        np.testing.assert_allclose(encoded[f"mean_{layer}"], mean, atol=1e-5)
        np.testing.assert_allclose(encoded[f"stddev_{layer}"], stddev, atol=1e-5)
        assert np.all(encoded[f"stddev_{layer}"] >= 0.2)
    np.testing.assert_allclose(served, model(images), atol=1e-5)
