"""A run to export, and servers on loopback that answer with the C++ loader.

The REST rules are those of TF Serving's json_tensor.cc, written anew.
"""

import base64
import contextlib
import http.server
import io
import json
import pathlib
import threading
from concurrent import futures
from typing import NamedTuple

import keras
import numpy as np
from PIL import Image

from export.errors import ServingError
from seatbelt_tf import SeatbeltVAE, runs


class Exported(NamedTuple):
    run: runs.Run
    model: keras.Model
    version: pathlib.Path


def make_run(path, dataset="sprites", **options):
    """A run directory as trainers.train leaves it, of a model that no training has made smooth."""
    options = {"image_shape": (32, 32, 1), "latent_dims": (5, 4, 3), **options}
    model = SeatbeltVAE(**options)
    random = np.random.default_rng(3)
    for variable in model.variables:
        if "moving" in variable.path or "stddev" in variable.path:
            noise = np.exp(random.normal(0, 0.2, variable.shape))
            variable.assign(noise * (1 if "variance" in variable.path else 0.1))
    model.adapt(random.uniform(-1, 1, (20, *model.image_shape)).astype(np.float32))
    run = runs.Run(path)
    options = {name: list(x) if isinstance(x, tuple) else x for name, x in options.items()}
    run.create(
        {
            "model": options,
            "data": {"name": dataset, "data_dir": None, "image_size": model.image_shape[0]},
            "training": {"steps": 20, "batch_size": 16},
            "command": ["trainers/train.py", "--steps=20"],
            "versions": {"tensorflow": "2.21.0"},
        }
    )
    run.save_model(model)
    runs.write_json(run.evaluation / "test.json", {"elbo": -1234.5})
    return run, model


def encode_image(pixels, kind="PNG"):
    """The bytes of a PNG or JPEG of a (H, W) or (H, W, 3) uint8 array."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


class Served:
    """A model behind a lock: the loader answers one request at a time.

    Attributes:
        unavailable: how many of the next requests are answered with UNAVAILABLE.
    """

    def __init__(self, loader):
        self.unavailable = 0
        self._loader, self._lock = loader, threading.Lock()

    def predict(self, model, signature, inputs):
        with self._lock:
            if self.unavailable:
                self.unavailable -= 1
                raise ServingError("UNAVAILABLE", "the model is being loaded")
            if model != "seatbelt":
                raise ServingError("NOT_FOUND", f"Servable not found for request: Latest({model})")
            return self._loader.predict(signature or "serving_default", inputs)


@contextlib.contextmanager
def grpc_server(served):
    """A PredictionService on loopback; gives its HOST:PORT."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):  # noqa: N802
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            inputs = {
                name: list(value) if value.dtype == object else value
                for name, value in inputs.items()
            }
            spec = request.model_spec
            try:
                outputs = served.predict(spec.name, spec.signature_name, inputs)
            except ServingError as error:
                context.abort(grpc.StatusCode[error.code], error.message)
            response = predict_pb2.PredictResponse()
            for name, value in outputs.items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            return response

    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(4), options=unlimited)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


DTYPES = {"images": np.float32, "seed": np.int32, "image_bytes": bytes}
STATUS = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "UNAVAILABLE": 503}


@contextlib.contextmanager
def rest_server(served, signatures):
    """TF Serving's predict API on loopback; gives its http://HOST:PORT."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            model = self.path.removeprefix("/v1/models/").partition(":")[0]
            try:
                status, answer = 200, answer_json(served, signatures, model, body)
            except ServingError as error:
                status, answer = STATUS.get(error.code, 500), {"error": error.message}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer_json(served, signatures, model, body):
    """The answer to a predict request's JSON, as TF Serving words it."""
    try:
        request = json.loads(body)
    except ValueError as error:
        raise ServingError("INVALID_ARGUMENT", f"JSON Parse error: {error}") from error
    if ("instances" in request) == ("inputs" in request):
        raise ServingError("INVALID_ARGUMENT", "Missing 'inputs' or 'instances' key")
    signature = request.get("signature_name", "serving_default")
    names = sorted(signatures[signature][0])
    is_row_form = "instances" in request
    columns = _rows(request["instances"], names) if is_row_form else request["inputs"]
    if not isinstance(columns, dict):
        if len(names) > 1:
            raise ServingError("INVALID_ARGUMENT", "inputs is a plain value/list")
        columns = {names[0]: columns}
    missing = [name for name in names if name not in columns]
    if missing:
        raise ServingError("INVALID_ARGUMENT", f"Missing named input: {missing[0]}")
    inputs = {name: _tensor(columns[name], DTYPES.get(name, np.float32)) for name in names}
    outputs = {k: v.tolist() for k, v in served.predict(model, signature, inputs).items()}
    if is_row_form:
        rows = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
        only = next(iter(outputs))
        return {"predictions": rows if len(outputs) > 1 else outputs[only]}
    return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}


def _rows(instances, names):
    if not isinstance(instances, list) or not instances:
        raise ServingError("INVALID_ARGUMENT", "No values in 'instances' array")
    if not isinstance(instances[0], dict) or set(instances[0]) == {"b64"}:
        return {names[0]: instances} if len(names) == 1 else instances
    if any(set(row) != set(names) for row in instances):
        raise ServingError("INVALID_ARGUMENT", f"keys must be equal to: {','.join(names)}")
    return {name: [row[name] for row in instances] for name in names}


def _tensor(value, dtype):
    if dtype is bytes:
        if not all(isinstance(item, dict) and set(item) == {"b64"} for item in value):
            raise ServingError("INVALID_ARGUMENT", "expected base64 objects")
        return [base64.b64decode(item["b64"]) for item in value]
    try:
        numbers = np.asarray(value)
    except ValueError as error:
        raise ServingError("INVALID_ARGUMENT", "Encountered list at unexpected size") from error
    wanted = "iuf" if dtype == np.float32 else "iu"
    if numbers.size and numbers.dtype.kind not in wanted:
        raise ServingError("INVALID_ARGUMENT", f"JSON Value is not of type: {dtype.__name__}")
    return numbers.astype(dtype)
