"""Requests that a server answers before it reports a model as available.

The first request of each signature and batch size is slow: kernels are chosen and compiled then.
TF Serving replays the PredictionLogs in assets.extra/tf_serving_warmup_requests at loading.
"""

import importlib.util
import pathlib

import numpy as np
import tensorflow as tf

from export.signatures import DEFAULT

FILE = pathlib.PurePath("assets.extra", "tf_serving_warmup_requests")
# The largest is batching.config's max_batch_size.
BATCH_SIZES = (1, 32)


def requests(signatures, recipe):
    """One request a signature and batch size: a list of (signature name, inputs).

    Args:
        signatures: see `signatures.of_model`.
        recipe: the preprocessing of encoded images, see `image_bytes.recipe_of`.
    """
    shape = (recipe["image_size"], recipe["image_size"], recipe["channels"])
    black = tf.io.encode_png(np.zeros(shape, np.uint8)).numpy()
    signatures = {"serving_default": signatures[DEFAULT], **signatures}
    return [
        (
            name,
            {
                key: [black] * rows
                if spec.dtype == tf.string
                else np.zeros((rows, *spec.shape[1:]), spec.dtype.as_numpy_dtype)
                for key, spec in signature.inputs.items()
            },
        )
        for rows in BATCH_SIZES
        for name, signature in signatures.items()
    ]


def is_possible():
    """Whether tensorflow-serving-api, which defines the file's messages, is installed."""
    return importlib.util.find_spec("tensorflow_serving") is not None


def write(directory, model_name, warmup_requests):
    """Writes the file into a version's directory.

    Args:
        directory: of the version.
        model_name: as the server knows it.
        warmup_requests: see `requests`.
    """
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    path = directory / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, inputs in warmup_requests:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model_name
            request.model_spec.signature_name = name
            for key, value in inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictLog(request=request)
            record = prediction_log_pb2.PredictionLog(predict_log=log)
            writer.write(record.SerializeToString())
