"""Bad requests: a thousand of them through the C++ loader, none of which may end the process."""

import numpy as np
import pytest
from serving import encode_image

from export import image_bytes
from export.errors import ServingError

REQUESTS = 1000


def malformed(random, good_image):
    """Endlessly many bad requests: (kind, signature, inputs)."""
    shape = (2, 32, 32, 1)
    while True:
        signature = str(random.choice(["serving_default", "encode", "reconstruct", "score"]))
        images = random.uniform(-1, 1, shape).astype(np.float32)
        seed = {"seed": np.ones((2, 2), np.int32)} if signature == "score" else {}
        latents = {f"latent_{i}": np.ones((2, 6 - i), np.float32) for i in (1, 2, 3)}
        spoiled = images.copy()
        place = tuple(random.integers(0, shape))
        spoiled[place] = random.choice([np.nan, np.inf, -np.inf, 1.01, -7.0, 3e38])
        wrong_rank = images.reshape([(64, 32), (2048,), (2, 32, 32, 1, 1)][random.integers(3)])
        other = [np.float64, np.float16, np.int32, np.uint8, np.int64][random.integers(5)]
        size = [(2, 32, 32, 3), (2, 31, 32, 1), (2, 0, 32, 1), (2, 32, 64, 1), (2, 1, 1, 1)]
        name = f"latent_{random.integers(1, 4)}"
        bad_latent = [np.full((2, 9), 0.5), np.ones(2), np.ones((3, 6 - int(name[-1])))]
        bad_latent += [latents[name] * value for value in (np.nan, np.inf, 1e30)]
        bytes_signature = f"{random.choice(['encode', 'reconstruct'])}_image_bytes"
        cut = good_image[: random.integers(len(good_image) - 12)]
        noise = bytearray(good_image)
        noise[random.integers(8, 33)] ^= int(random.integers(1, 256))
        headers = [
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff\xe0",
            b"GIF89a",
            b"BM",
            b"RIFF0000WEBP",
            b"",
        ]
        junk = headers[random.integers(6)] + random.bytes(random.integers(100))
        bad_bytes = [cut, bytes(noise), junk, huge_png(random)]
        yield "wrong rank", signature, {"images": wrong_rank, **seed}
        yield "scalar", signature, {"images": np.float32(0.5), **seed}
        yield "wrong shape", signature, {"images": np.zeros(size[random.integers(5)], "f"), **seed}
        yield "wrong dtype", signature, {"images": images.astype(other), **seed}
        yield "missing", signature, seed
        yield "extra", signature, {"images": images, **seed, "labels": images}
        yield "empty", signature, {"images": images[:0], **{k: v[:0] for k, v in seed.items()}}
        yield "value", signature, {"images": spoiled, **seed}
        yield "rows", "score", {"images": images, "seed": np.ones((3, 2), np.int32)}
        yield (
            "seed",
            "sample",
            {"seed": np.ones([(2,), (2, 3), (0, 2), (2, 2, 1)][random.integers(4)], "i4")},
        )
        yield (
            "seed dtype",
            "sample",
            {"seed": np.ones((2, 2), [np.float32, np.int64][random.integers(2)])},
        )
        yield "latent", "decode", latents | {name: bad_latent[random.integers(6)].astype("f")}
        yield "missing latent", "decode", {k: v for k, v in latents.items() if k != name}
        yield "bytes", bytes_signature, {"image_bytes": [good_image, bad_bytes[random.integers(4)]]}
        yield "no bytes", bytes_signature, {"image_bytes": []}
        yield "not bytes", bytes_signature, {"image_bytes": images}
        yield "bytes as images", signature, {"images": [good_image], **seed}


def huge_png(random):
    """A well-formed header that promises more pixels than are accepted, or none."""
    import struct
    import zlib

    sides = [
        (2**31 - 1, 2**31 - 1),
        (65536, 65536),
        (4097, 4096),
        (0, 32),
        (2**32 - 1, 32),
        (31, 0),
    ]
    chunk = b"IHDR" + struct.pack(">IIBBBBB", *sides[random.integers(6)], 8, 0, 0, 0, 0)
    end = struct.pack(">I", zlib.crc32(chunk)) + bytes(100)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + end


@pytest.fixture(scope="module")
def good_image():
    return encode_image(np.arange(1600, dtype=np.uint8).reshape(40, 40))


def test_a_thousand_malformed_requests_are_refused_and_the_next_good_one_answered(
    loader, batch, good_image
):
    good = {"images": batch.images}
    before = loader.predict("encode", good)["embedding"]
    stream = malformed(np.random.default_rng(11), good_image)
    codes = {}
    for _, (kind, signature, inputs) in zip(range(REQUESTS), stream, strict=False):
        with pytest.raises(ServingError) as refused:
            loader.predict(signature, inputs)
        assert refused.value.message, kind
        codes.setdefault(refused.value.code, set()).add(kind)
    assert set(codes) == {"INVALID_ARGUMENT"}, codes
    np.testing.assert_array_equal(loader.predict("encode", good)["embedding"], before)
    assert loader.predict("encode_image_bytes", {"image_bytes": [good_image]})


MESSAGES = {
    "NaN": (lambda x: {"images": x * np.nan}, r"finite numbers from -1\.0001 to 1\.0001"),
    "range": (lambda x: {"images": x + 5}, r"\[[56]\.\d+\]"),
    "empty": (lambda x: {"images": x[:0]}, "one at least"),
    "rank": (lambda x: {"images": x[0]}, "not compatible with expected shape"),
}


@pytest.mark.parametrize("fault", MESSAGES)
def test_refusals_say_what_was_wrong(fault, loader, batch):
    change, message = MESSAGES[fault]
    with pytest.raises(ServingError, match=message):
        loader.predict("encode", change(batch.images))


def test_oversized_bytes_are_refused_before_decoding(loader, good_image):
    padded = good_image + bytes(image_bytes.MAX_BYTES - len(good_image))
    assert loader.predict("encode_image_bytes", {"image_bytes": [padded]})
    with pytest.raises(ServingError, match=rf"33 to {image_bytes.MAX_BYTES} bytes"):
        loader.predict("encode_image_bytes", {"image_bytes": [padded + b"\0"]})


def test_one_bad_image_refuses_the_request_it_came_with(loader, good_image):
    with pytest.raises(ServingError, match="PNG or JPEG"):
        loader.predict("encode_image_bytes", {"image_bytes": [good_image, b"<html>" * 20]})


def test_an_unknown_signature_is_an_error(loader):
    with pytest.raises(ServingError, match="not found"):
        loader.predict("encod", {})
