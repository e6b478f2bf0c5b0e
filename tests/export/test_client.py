"""The client against servers on loopback, gRPC and REST, and against a real one if there is one."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request

import numpy as np
import pytest
from programs import ROOT
from serving import Served, encode_image, grpc_server, rest_server

from export import client
from export.errors import ServingError


@pytest.fixture(scope="module")
def served(loader):
    return Served(loader)


@pytest.fixture(scope="module")
def grpc_address(served):
    pytest.importorskip("tensorflow_serving")
    with grpc_server(served) as address:
        yield f"grpc://{address}"


@pytest.fixture(scope="module")
def rest_address(served, loader):
    with rest_server(served, loader.signatures) as address:
        yield address


@pytest.fixture(params=["grpc", "rest"])
def address(request):
    return request.getfixturevalue(f"{request.param}_address")


def test_every_signature_gives_named_arrays(address, exported, batch):
    images, seed = batch.images[:3], batch.seed[:3]
    encoded = [encode_image(np.full((32, 32), shade, np.uint8)) for shade in (0, 99)]
    model = exported.model
    kind = client.GrpcClient if address.startswith("grpc") else client.RestClient
    with client.connect(address) as seatbelt:
        assert isinstance(seatbelt, kind)
        assert isinstance(seatbelt, client.Client)
        embedding = seatbelt.encode(images)
        reconstruction = seatbelt.reconstruct(images)["reconstruction"]
        latents = [embedding[f"mean_{layer}"] for layer in (1, 2, 3)]
        decoded = seatbelt.decode(latents)["reconstruction"]
        score = seatbelt.score(images, seed)
        sample = seatbelt.sample(seed)["sample"]
        from_bytes = seatbelt.encode_image_bytes(encoded)["embedding"]
        shades = seatbelt.reconstruct_image_bytes(encoded)["reconstruction"]
    means = np.concatenate([posterior.mean for posterior in model.encode(images)], axis=1)
    np.testing.assert_allclose(embedding["embedding"], means, atol=1e-5)
    np.testing.assert_allclose(reconstruction, model(images), atol=1e-4)
    np.testing.assert_allclose(decoded, reconstruction, atol=1e-4)
    np.testing.assert_allclose(score["elbo"], score["log_likelihood"] - score["kl"], rtol=1e-6)
    expected = model.sample(1, seed=int(seed[0, 0]))[0]
    np.testing.assert_allclose(sample[0], expected, rtol=1e-5, atol=1e-4)
    grey = np.stack([np.full((32, 32, 1), (x - 127.5) / 127.5, np.float32) for x in (0, 99)])
    np.testing.assert_allclose(from_bytes[:, :5], model.encode(grey)[0].mean, atol=1e-5)
    np.testing.assert_allclose(shades, model(grey), atol=1e-4)
    assert {value.dtype for value in (from_bytes, sample, *score.values())} == {np.dtype("float32")}


def test_errors_carry_the_servers_code_and_message(address, batch):
    with client.connect(address) as seatbelt:
        with pytest.raises(ServingError, match="finite numbers") as refused:
            seatbelt.encode(batch.images * np.nan)
        assert refused.value.code == "INVALID_ARGUMENT"
        with pytest.raises(ServingError, match="not compatible"):
            seatbelt.encode(batch.images[0])
    with (
        client.connect(address, model="other") as other,
        pytest.raises(ServingError, match=r"Latest\(other\)") as unknown,
    ):
        other.encode(batch.images)
    assert unknown.value.code == "NOT_FOUND"


def test_an_unavailable_server_is_asked_again(address, served, batch, monkeypatch):
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.001)
    with client.connect(address, retries=2) as seatbelt:
        served.unavailable = 2
        assert len(seatbelt.encode(batch.images)["embedding"]) == 33
        served.unavailable = 3
        with pytest.raises(ServingError, match="being loaded") as unavailable:
            seatbelt.encode(batch.images)
    assert unavailable.value.code == "UNAVAILABLE"
    assert served.unavailable == 0


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_nobody_listening_is_an_error_in_time(scheme):
    if scheme == "grpc":
        pytest.importorskip("tensorflow_serving")
    # Port 9 of the loopback is reserved: nothing listens there.
    with (
        client.connect(f"{scheme}://127.0.0.1:9", timeout=0.5) as nobody,
        pytest.raises(ServingError) as unavailable,
    ):
        nobody.sample([[0, 0]])
    assert unavailable.value.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}"])
def test_the_answer_of_another_kind_of_server_is_an_error(answer, monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(answer))
    with pytest.raises(ServingError, match="not one of TF Serving's"):
        client.connect("http://localhost:8501").sample([[0, 0]])


def test_a_server_that_does_not_answer_meets_the_deadline(address, served):
    with (
        served._lock,
        client.connect(address, timeout=0.2) as slow,
        pytest.raises(ServingError) as late,
    ):
        slow.sample([[0, 0]])
    assert late.value.code == "DEADLINE_EXCEEDED"


def test_answers_above_grpcs_usual_limit_arrive(grpc_address):
    seed = np.stack([np.arange(1100), np.zeros(1100, int)], axis=1)
    with client.connect(grpc_address, timeout=60) as seatbelt:
        samples = seatbelt.sample(seed)["sample"]
    assert samples.nbytes > 4 * 2**20


def test_the_readmes_call_works(grpc_address, capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n((?:(?!```).)*export import client.*?)```", text, re.DOTALL)
    assert "grpc://localhost:8500" in block
    exec(block.replace("grpc://localhost:8500", grpc_address), {})
    assert capsys.readouterr().out.startswith("(2, 12)\n-")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_readmes_request_without_the_client_works(rest_address, tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"```sh\n([^`]*curl[^`]*)```", text)
    assert "http://localhost:8501" in command
    command = command.replace("http://localhost:8501", rest_address)
    (tmp_path / "face.png").write_bytes(encode_image(np.zeros((32, 32), np.uint8)))
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=True)
    assert set(json.loads(result.stdout)["predictions"][0]) > {"embedding"}


@pytest.mark.parametrize("address", ["localhost:8500", "ftp://localhost", "grpc://", ""])
def test_other_addresses_are_refused(address):
    with pytest.raises(ValueError, match="Invalid value for address"):
        client.connect(address)


def test_predict_takes_what_arrays_and_bytes_may_come_as(address, batch):
    files = [encode_image(np.full((32, 32), shade, np.uint8)) for shade in (0, 99)]
    with client.connect(address) as seatbelt:
        for images in (files, tuple(files), np.array(files, object)):
            assert len(seatbelt.predict("encode_image_bytes", image_bytes=images)["embedding"]) == 2
        seed = batch.seed[:2].tolist()
        (samples,) = seatbelt.predict("sample", seed=seed).values()
        np.testing.assert_array_equal(samples, seatbelt.sample(np.int64(seed))["sample"])
        images = np.float64(batch.images[:2]).tolist()
        assert len(seatbelt.predict("encode", images=images)["embedding"]) == 2


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda it: it.sample([[2**32 + 5, 0]]), "seed. Expected integers of 32 bits"),
        (lambda it: it.sample([[0.9, 0]]), "seed. Expected .* integers. Received: float64"),
        (lambda it: it.encode_image_bytes(b"PNG"), "a sequence of bytes. Received: bytes"),
        (lambda it: it.predict("encode", images=[["a"]]), "an array of numbers or a sequence"),
    ],
)
def test_what_cannot_be_sent_as_it_is_is_refused(ask, message):
    with pytest.raises(ValueError, match=message):
        ask(client.connect("http://localhost:1"))


@pytest.mark.parametrize("options", [{"retries": -1}, {"timeout": 0}, {"timeout": float("inf")}])
def test_no_attempts_and_no_time_are_refused(options):
    with pytest.raises(ValueError, match="at least 0 retries"):
        client.connect("http://localhost:1", **options)


def post(address, body):
    """The status and the JSON that a predict request gets."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/v1/models/seatbelt:predict", data)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_rest_rows_and_columns_give_the_same(rest_address, batch):
    images, seed = batch.images[:2].tolist(), batch.seed[:2].tolist()
    _, rows = post(rest_address, {"instances": images})
    _, columns = post(rest_address, {"inputs": {"images": images}})
    assert set(rows["predictions"][0]) == set(columns["outputs"])
    embeddings = [row["embedding"] for row in rows["predictions"]]
    assert embeddings == columns["outputs"]["embedding"]
    named = [{"images": x, "seed": s} for x, s in zip(images, seed, strict=True)]
    _, scores = post(rest_address, {"signature_name": "score", "instances": named})
    _, both = post(
        rest_address, {"signature_name": "score", "inputs": {"images": images, "seed": seed}}
    )
    assert [row["elbo"] for row in scores["predictions"]] == both["outputs"]["elbo"]


def test_rest_takes_images_in_base64_and_leaves_an_only_output_unnamed(rest_address):
    image = {"b64": base64.b64encode(encode_image(np.zeros((32, 32), np.uint8))).decode()}
    request = {"signature_name": "reconstruct_image_bytes", "instances": [image, image]}
    _, answer = post(rest_address, request)
    assert np.shape(answer["predictions"]) == (2, 32, 32, 1)
    request = {"signature_name": "encode_image_bytes", "instances": [{"image_bytes": image}]}
    assert set(post(rest_address, request)[1]["predictions"][0]) > {"embedding"}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        {},
        {"instances": []},
        {"instances": [[1.0]], "inputs": [[1.0]]},
        {"inputs": {"pictures": [[1.0]]}},
        {"instances": [[[1.0]], [[1.0, 2.0]]]},
        {"instances": ["a"]},
        {"instances": [1.5]},
        {"signature_name": "sample", "instances": [[0.5, 1]]},
        {"signature_name": "encode_image_bytes", "instances": ["plain text"]},
        b'{"inputs": {"images": [NaN]}}',
    ],
)
def test_rest_errors_are_an_object_with_the_message(body, rest_address):
    status, answer = post(rest_address, body)
    assert status == 400
    assert set(answer) == {"error"}
    assert answer["error"]


@pytest.mark.skipif("TF_SERVING_URL" not in os.environ, reason="needs a server at TF_SERVING_URL")
def test_a_real_server_answers_and_survives():
    """TF_SERVING_URL: grpc://HOST:8500 or http://HOST:8501, serving any export as seatbelt."""
    with client.connect(os.environ["TF_SERVING_URL"], timeout=60) as seatbelt:
        samples = np.clip(seatbelt.sample([[0, 0], [1, 0], [0, 0]])["sample"], -1, 1)
        np.testing.assert_array_equal(samples[0], samples[2])
        together = seatbelt.encode(samples)["embedding"]
        alone = seatbelt.encode(samples[:1])["embedding"]
        assert np.abs(together[:1] - alone).max() < 1e-6 * np.abs(together).max()
        for bad in (samples[0], samples[:0], samples * np.nan, np.zeros((1, 2, 2, 1))):
            with pytest.raises(ServingError):
                seatbelt.encode(bad)
        assert np.array_equal(seatbelt.encode(samples)["embedding"], together)
