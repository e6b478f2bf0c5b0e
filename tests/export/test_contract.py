"""The exported model through TF Serving's C++ loader against the Keras model."""

import re
import signal

import numpy as np
import pytest
from serving import encode_image

from export import cpp_loader, errors, operations, signatures

SIGNATURES = {
    "serving_default": {"embedding", *(f"{k}_{i}" for k in ("mean", "stddev") for i in (1, 2, 3))},
    "encode": {"embedding", *(f"{k}_{i}" for k in ("mean", "stddev") for i in (1, 2, 3))},
    "reconstruct": {"reconstruction"},
    "decode": {"reconstruction"},
    "score": {"elbo", "log_likelihood", "kl"},
    "sample": {"sample"},
    "encode_image_bytes": {"embedding", "mean_1", "stddev_1", "mean_2", "stddev_2"}
    | {"mean_3", "stddev_3"},
    "reconstruct_image_bytes": {"reconstruction"},
}


def pixels_of(images):
    """Bytes that the scaling x -> (x − 127.5) / 127.5 takes near the images."""
    return np.round(images * 127.5 + 127.5).astype(np.uint8)


def inputs_of(name, batch, model, rows):
    """A good request for a signature: the batch's rows in this order."""
    images, seed = batch.images[rows], batch.seed[rows]
    if name in ("serving_default", "encode", "reconstruct"):
        return {"images": images}
    if name == "decode":
        means = [posterior.mean.numpy() for posterior in model.encode(batch.images)]
        return {f"latent_{i}": mean[rows] for i, mean in enumerate(means, 1)}
    if name == "score":
        return {"images": images, "seed": seed}
    if name == "sample":
        return {"seed": seed}
    kinds = ("PNG", "JPEG")
    return {
        "image_bytes": [
            encode_image(pixels_of(batch.images[i, ..., 0]), kinds[i % 2]) for i in rows
        ]
    }


def keras_answer(name, inputs, model):
    """What the Keras model says, rows with seeds one at a time."""
    if name.endswith("_image_bytes"):
        import tensorflow as tf

        decoded = [tf.io.decode_image(item, channels=1).numpy() for item in inputs["image_bytes"]]
        images = ((np.stack(decoded).astype(np.float64) - 127.5) / 127.5).astype(np.float32)
        name = name.removesuffix("_image_bytes")
    else:
        images = inputs.get("images")
    if name in ("serving_default", "encode"):
        posteriors = [(mean.numpy(), stddev.numpy()) for mean, stddev in model.encode(images)]
        answer = {"embedding": np.concatenate([mean for mean, _ in posteriors], axis=1)}
        for layer, (mean, stddev) in enumerate(posteriors, 1):
            answer |= {f"mean_{layer}": mean, f"stddev_{layer}": stddev}
        return answer
    if name == "reconstruct":
        return {"reconstruction": model(images).numpy()}
    if name == "decode":
        return {"reconstruction": model.decode(tuple(inputs.values())).numpy()}
    seeds = [int(seed) for seed, _ in inputs["seed"]]
    if name == "sample":
        return {"sample": np.concatenate([model.sample(1, seed=seed).numpy() for seed in seeds])}
    pairs = zip(images, seeds, strict=True)
    elbo = [model.elbo(image[None], seed=seed).numpy() for image, seed in pairs]
    return {"elbo": np.concatenate(elbo)}


def relative_error(first, second):
    return np.abs(first - second).max() / np.abs(second).max()


def test_the_loader_process_imports_no_python_of_ours_or_tensorflows(loader):
    assert loader.foreign_modules == []


def test_signatures_and_their_outputs_are_those_documented(loader):
    names = {name for name in loader.signatures if not name.startswith("__")}
    assert names == set(SIGNATURES)
    assert {name: set(loader.signatures[name][1]) for name in SIGNATURES} == SIGNATURES


@pytest.mark.parametrize("name", SIGNATURES)
def test_served_equals_keras(name, loader, exported, batch):
    everything = inputs_of(name, batch, exported.model, list(range(33)))
    answer = keras_answer(name, everything, exported.model)
    shuffled = list(np.random.default_rng(1).permutation(33))
    for rows in ([0], [0, 1, 2], shuffled):
        served = loader.predict(name, inputs_of(name, batch, exported.model, rows))
        for output, value in answer.items():
            assert served[output].shape == value[rows].shape
            assert served[output].dtype == np.float32
            assert relative_error(served[output], value[rows]) < 1e-5, output


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_row_is_the_same_alone_and_in_any_batch(name, loader, exported, batch):
    # One-row matrix products round otherwise by more than this; the signatures avoid them.
    together = loader.predict(name, inputs_of(name, batch, exported.model, list(range(33))))
    for rows in ([0], [32], [5, 6], [20, 3, 3, 31]):
        some = loader.predict(name, inputs_of(name, batch, exported.model, rows))
        for output, value in some.items():
            assert relative_error(value, together[output][rows]) < 1e-6, output


def test_a_rows_random_draws_are_exactly_its_seeds(exported, batch):
    import tensorflow as tf

    from seatbelt_tf import by_row

    model = exported.model
    together = by_row._noise(model, batch.seed, purpose=2)
    assert [noise.shape for noise in together] == [(33, units) for units in model.latent_dims]
    for row in (0, 7, 32):
        alone = by_row._noise(model, batch.seed[row : row + 1], purpose=2)
        own = model._noise(1, 2, int(batch.seed[row, 0]))
        for layer in range(3):
            np.testing.assert_array_equal(alone[layer][0], together[layer][row])
            np.testing.assert_array_equal(own[layer][0], together[layer][row])
    noise = tf.concat(together, axis=1).numpy()
    assert len(np.unique(noise)) == noise.size


def test_a_score_is_its_parts_and_depends_on_both_numbers_of_the_seed(loader, batch):
    images, seed = batch.images[:3], batch.seed[:3]
    first = loader.predict("score", {"images": images, "seed": seed})
    again = loader.predict("score", {"images": images, "seed": seed})
    np.testing.assert_array_equal(first["elbo"], again["elbo"])
    parts = first["log_likelihood"].astype(np.float64) - first["kl"]
    np.testing.assert_allclose(first["elbo"], parts, rtol=1e-6)
    for column in (0, 1):
        other = seed.copy()
        other[:, column] += 1
        changed = loader.predict("score", {"images": images, "seed": other})
        assert np.all(changed["elbo"] != first["elbo"])


def test_the_graph_holds_allowed_operations_only(exported):
    found = operations.operations(exported.version)
    assert found <= operations.ALLOWED
    assert {"Conv2D", "EnsureShape", "Assert", "StatelessRandomNormalV2"} <= found


@pytest.mark.parametrize("forbidden", ["python", "stateful random", "must compile"])
def test_what_a_server_cannot_run_is_refused(forbidden, tmp_path):
    import tensorflow as tf

    functions = {
        "python": lambda x: tf.ensure_shape(tf.numpy_function(np.sin, [x], tf.float32), [None]),
        "stateful random": lambda x: x + tf.random.normal([]),
        "must compile": tf.function(lambda x: x + 1.0, jit_compile=True),
    }
    expected = {"python": "PyFunc", "stateful random": "RandomStandardNormal"}
    spec = tf.TensorSpec([None], tf.float32)
    signature = signatures.Signature({"x": spec}, {}, lambda x: {"y": functions[forbidden](x)})
    signatures.write({"encode": signature}, tmp_path)
    with pytest.raises(ValueError, match=expected.get(forbidden, "XLA")):
        operations.check(tmp_path)


def test_an_unchecked_rank_ends_the_process_or_is_refused_and_the_loader_says_so(tmp_path):
    # What the checks are for; the day TensorFlow returns an error here they are a nicety.
    import tensorflow as tf

    def unchecked(images):
        return {"y": tf.nn.conv2d(images, tf.ones([4, 4, 1, 1]), 2, "SAME")}

    spec = tf.TensorSpec([None, 8, 8, 1], tf.float32)
    module = tf.Module()
    function = tf.function(unchecked, input_signature=[spec], autograph=False)
    tf.saved_model.save(module, tmp_path, signatures={"encode": function})
    with cpp_loader.Loader(tmp_path) as loader:
        assert loader.predict("encode", {"images": np.zeros((1, 8, 8, 1), np.float32)})
        # Processors with AVX-512 compute it by oneDNN, which aborts.
        with pytest.raises((cpp_loader.ProcessDiedError, errors.ServingError)) as caught:
            loader.predict("encode", {"images": np.zeros((8, 8, 1), np.float32)})
        assert re.match("exit status -6|INVALID_ARGUMENT", str(caught.value))
        if loader._process.poll() is None:
            loader._process.send_signal(signal.SIGABRT)
        with pytest.raises(cpp_loader.ProcessDiedError, match="exit status -6"):
            loader.predict("encode", {"images": np.zeros((1, 8, 8, 1), np.float32)})
