"""Asking TF Serving for embeddings, reconstructions and scores, by gRPC or REST.

    from export import client

    with client.connect("grpc://localhost:8500", model="seatbelt") as seatbelt:
        embedding = seatbelt.encode(images)["embedding"]

REST needs NumPy alone; gRPC needs `pip install -e '.[export]'`, which brings TensorFlow.
"""

import abc
import base64
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from export.errors import ServingError

__all__ = ["Client", "GrpcClient", "RestClient", "ServingError", "connect"]

TIMEOUT = 10.0
RETRIES = 3
FIRST_PAUSE = 0.1
# gRPC's own limit, 4 MiB, is 85 reconstructions of 64×64×3.
MAX_MESSAGE_BYTES = 2**30
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def connect(address: str, model: str = "seatbelt", **options: Any) -> "Client":
    """A client for a server's address.

    Args:
        address: "grpc://HOST:PORT" (TF Serving's 8500), or "http://HOST:PORT" (8501).
        model: the model's name on the server.
        **options: see `Client`.

    Raises:
        ValueError: another kind of address.
    """
    scheme, _, place = address.partition("://")
    if scheme == "grpc" and place:
        return GrpcClient(place, model, **options)
    if scheme in ("http", "https") and place:
        return RestClient(address, model, **options)
    raise ValueError(
        "Invalid value for address. Expected grpc://HOST:PORT or http://HOST:PORT. "
        f"Received: address={address!r}"
    )


class Client(abc.ABC):
    """The signatures of a served model as functions; also a context manager.

    Each gives a dict of output name to float32 array, the batch first, and raises `ServingError`
    with the server's code and message.

    Args:
        address: of the server.
        model: its name there.
        version: a version number; None for the server's choice, the latest.
        timeout: seconds that a call may take, retries included.
        retries: how often a call is repeated while the server is unavailable, with growing pauses.
    """

    def __init__(
        self,
        address: str,
        model: str = "seatbelt",
        version: int | None = None,
        timeout: float = TIMEOUT,
        retries: int = RETRIES,
    ) -> None:
        self.address, self.model, self.version = address, model, version
        self.timeout, self.retries = timeout, retries
        if not 0 < timeout < float("inf") or retries < 0:
            raise ValueError(
                "Invalid value for timeout or retries. Expected a finite number of seconds above 0 "
                f"and at least 0 retries. Received: timeout={timeout!r}, retries={retries!r}"
            )

    def encode(self, images: ArrayLike) -> dict[str, np.ndarray]:
        """embedding, mean_i and stddev_i of images (M, H, W, C) in [-1, 1]."""
        return self.predict("encode", images=np.asarray(images, np.float32))

    def reconstruct(self, images: ArrayLike) -> dict[str, np.ndarray]:
        """reconstruction (M, H, W, C) of images (M, H, W, C) in [-1, 1]."""
        return self.predict("reconstruct", images=np.asarray(images, np.float32))

    def decode(self, latents: Sequence[ArrayLike]) -> dict[str, np.ndarray]:
        """reconstruction (M, H, W, C) of latents, a sequence of (M, d_i), bottom layer first."""
        named = {f"latent_{i}": np.asarray(x, np.float32) for i, x in enumerate(latents, 1)}
        return self.predict("decode", **named)

    def score(self, images: ArrayLike, seed: ArrayLike) -> dict[str, np.ndarray]:
        """elbo, log_likelihood and kl (M,), nats, of images; seed: (M, 2) integers, one a row."""
        images = np.asarray(images, np.float32)
        return self.predict("score", images=images, seed=_seed(seed))

    def sample(self, seed: ArrayLike) -> dict[str, np.ndarray]:
        """sample (M, H, W, C) from the prior; seed: (M, 2) integers, one a row."""
        return self.predict("sample", seed=_seed(seed))

    def encode_image_bytes(self, images: Sequence[bytes]) -> dict[str, np.ndarray]:
        """As `encode`, of the bytes of PNG or JPEG files: a sequence (M,)."""
        return self.predict("encode_image_bytes", image_bytes=images)

    def reconstruct_image_bytes(self, images: Sequence[bytes]) -> dict[str, np.ndarray]:
        """As `reconstruct`, of the bytes of PNG or JPEG files: a sequence (M,)."""
        return self.predict("reconstruct_image_bytes", image_bytes=images)

    def predict(
        self, signature: str, /, **inputs: ArrayLike | Sequence[bytes]
    ) -> dict[str, np.ndarray]:
        """Any signature of the served model.

        Args:
            signature: its name.
            **inputs: by input name, arrays (M, ...) of numbers, sent as float32 or int32, or
                sequences of bytes (M,).

        Raises:
            ServingError: the server refused, or could not be reached in time.
            ValueError: an input is neither, or has integers beyond int32's range.
        """
        columns = {name: _column(name, value) for name, value in inputs.items()}
        end = time.monotonic() + self.timeout
        pause = FIRST_PAUSE
        attempts_left = self.retries
        while True:
            try:
                return self._call(signature, columns, end - time.monotonic())
            except ServingError as error:
                if (
                    error.code != "UNAVAILABLE"
                    or not attempts_left
                    or time.monotonic() + pause >= end
                ):
                    raise
            time.sleep(pause)
            attempts_left -= 1
            pause *= 2

    @abc.abstractmethod
    def _call(self, signature, inputs, timeout):
        """One attempt, of what `_column` gives: dict of output name to array, or ServingError."""

    def close(self) -> None:  # noqa: B027
        """Lets the connection go."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_):
        self.close()


class GrpcClient(Client):
    """A `Client` over gRPC, the faster one; its address is HOST:PORT."""

    def __init__(self, address: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(address, *args, **kwargs)
        try:
            import grpc
            from tensorflow_serving.apis import prediction_service_pb2_grpc
        except ModuleNotFoundError as error:
            needed = "gRPC needs pip install -e '.[export]'; http://… needs nothing more"
            raise ModuleNotFoundError(f"{needed} ({error})") from error

        limits = ("grpc.max_receive_message_length", "grpc.max_send_message_length")
        self._channel = grpc.insecure_channel(
            address, options=[(name, MAX_MESSAGE_BYTES) for name in limits]
        )
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def _call(self, signature, inputs, timeout):
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name = self.model
        request.model_spec.signature_name = signature
        if self.version is not None:
            request.model_spec.version.value = self.version
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        try:
            response = self._stub.Predict(request, timeout=timeout)
        except grpc.RpcError as error:
            raise ServingError(error.code().name, error.details()) from None
        return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}

    def close(self) -> None:
        self._channel.close()


class RestClient(Client):
    """A `Client` over REST; its address is http://HOST:PORT."""

    def _call(self, signature, inputs, timeout):
        version = "" if self.version is None else f"/versions/{self.version}"
        model = urllib.parse.quote(self.model, safe="")
        columns = {name: _json(value) for name, value in inputs.items()}
        request = urllib.request.Request(
            f"{self.address.rstrip('/')}/v1/models/{model}{version}:predict",
            json.dumps({"signature_name": signature, "inputs": columns}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                outputs = json.load(response)["outputs"]
        except urllib.error.HTTPError as error:
            code = _CODES.get(error.code, f"HTTP {error.code}")
            raise ServingError(code, _message(error)) from error
        except TimeoutError as error:
            raise ServingError("DEADLINE_EXCEEDED", f"no answer in {timeout:.3g} s") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise ServingError("DEADLINE_EXCEEDED", f"no answer in {timeout:.3g} s") from error
            raise ServingError("UNAVAILABLE", str(reason)) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ServingError("UNKNOWN", "the answer is not one of TF Serving's") from error
        if not isinstance(outputs, dict):
            # A signature's only output comes without its name.
            outputs = {_ONLY_OUTPUTS.get(signature, "output"): outputs}
        return {name: np.asarray(value, np.float32) for name, value in outputs.items()}


_ONLY_OUTPUTS = {
    "reconstruct": "reconstruction",
    "decode": "reconstruction",
    "reconstruct_image_bytes": "reconstruction",
    "sample": "sample",
}


def _column(name, value):
    """What is sent of an input: a list of bytes, or an array of float32 or int32."""
    is_sequence = not isinstance(value, bytes | str) and hasattr(value, "__len__")
    if is_sequence and len(value) and all(isinstance(item, bytes) for item in value):
        return list(value)
    array = np.asarray(value)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype.kind not in "iu":
        raise ValueError(
            f"Invalid value for {name}. Expected an array of numbers or a sequence of bytes. "
            f"Received: {type(value).__name__}"
        )
    limits = np.iinfo(np.int32)
    if array.size and not limits.min <= array.min() <= array.max() <= limits.max:
        raise ValueError(
            f"Invalid value for {name}. Expected integers of 32 bits. "
            f"Received: {array.min()} to {array.max()}"
        )
    return array.astype(np.int32)


def _seed(seed):
    """A seed as an array of integers: others are not rounded to some."""
    array = np.asarray(seed)
    if array.dtype.kind not in "iu":
        raise ValueError(
            f"Invalid value for seed. Expected (M, 2) integers. Received: {array.dtype}"
        )
    return array


def _json(value):
    """A column of a REST request: numbers as nested lists, bytes in base64."""
    if isinstance(value, list):
        return [{"b64": base64.b64encode(item).decode()} for item in value]
    return value.tolist()


def _message(error):
    text = error.read().decode("utf-8", "replace")
    try:
        return json.loads(text)["error"]
    except (ValueError, KeyError, TypeError):
        return text
