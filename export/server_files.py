"""Configuration for TF Serving, beside the versions: models.config and batching.config."""

import json

from seatbelt_tf import runs

_MODELS = """\
# tensorflow_model_server --model_config_file=/models/{directory}/models.config
# base_path is where the server sees this directory.
model_config_list {{
  config {{
    name: {name}
    base_path: {base_path}
    model_platform: "tensorflow"
  }}
}}
"""

_BATCHING = """\
# --enable_batching --batching_parameters_file=/models/{directory}/batching.config
# Requests to one signature share a batch. No row's answer depends on the others', but a request
# that is refused takes those batched with it along: leave batching off where clients don't trust
# each other. A request of more rows than this is refused, too ("Task size …").
max_batch_size {{ value: 256 }}
batch_timeout_micros {{ value: 1000 }}
max_enqueued_batches {{ value: 128 }}
"""


def write(model_dir, model_name):
    """Writes both files where they are missing; what is there is the user's.

    Args:
        model_dir: the directory of the versions.
        model_name: as the server is to know the model.
    """
    texts = {
        "models.config": _MODELS.format(
            directory=model_name,
            name=json.dumps(model_name, ensure_ascii=False),
            base_path=json.dumps(f"/models/{model_name}", ensure_ascii=False),
        ),
        "batching.config": _BATCHING.format(directory=model_name),
    }
    for name, text in texts.items():
        if not (model_dir / name).exists():
            runs.write_text(model_dir / name, text)
