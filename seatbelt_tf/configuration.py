"""What config.json may say, checked without TensorFlow: it may come from elsewhere."""

from seatbelt_tf import checks, presets
from seatbelt_tf.datasets import preprocessing

FIELDS = ("format", "model", "data", "training", "command", "versions", "machine")
DTYPES = ("float32", "mixed_bfloat16")


def check(config):
    """Raises ValueError unless a configuration says what its model and data are.

    Every field has to be known and its value possible.

    Args:
        config: what config.json holds.
    """
    _known("config.json", config, FIELDS)
    for field, kind, words in (
        ("command", list, "a JSON array"),
        ("versions", dict, "a JSON object"),
        ("machine", dict, "a JSON object"),
    ):
        if not isinstance(config.get(field, kind()), kind):
            raise checks.invalid(field, words, type(config[field]).__name__)
    if not all(isinstance(word, str) for word in config.get("command", [])):
        raise checks.invalid("command", "a list of texts", repr(config["command"]))
    model, data, training = (config.get(name, {}) for name in ("model", "data", "training"))
    _known("model", model, (*presets.MODEL_OPTIONS, "dtype", "name"))
    presets.check_model_options(model)
    checks.one_of("dtype", model.get("dtype", DTYPES[0]), DTYPES)
    for name, value, table in (("data", data, _DATA), ("training", training, _TRAINING)):
        _known(name, value, tuple(table))
        for field in value:
            table[field](field, value[field])
    _complete("model", model, ("image_shape", "latent_dims"))
    _complete("data", data, ("name", "data_dir", "image_size"))


def check_training(config):
    """Raises ValueError unless a configuration says all that a training needs.

    Args:
        config: one that `check` has passed.
    """
    needed = [field for field in _TRAINING if field not in ("preset", "mixed_precision")]
    _complete("training", config.get("training", {}), needed)


def _known(name, value, fields):
    if not isinstance(value, dict):
        raise checks.invalid(name, "a JSON object", type(value).__name__)
    for field in value:
        checks.one_of(f"{name}'s field", field, fields)


def _complete(name, value, fields):
    for field in fields:
        if field not in value:
            raise checks.invalid(name, f"a JSON object with {field}", sorted(value))


def _of_type(kind, words):
    def check_type(name, value):
        if not isinstance(value, kind):
            raise checks.invalid(name, words, repr(value))

    return check_type


_TEXT = _of_type(str, "text")
_OPTIONAL_TEXT = _of_type((str, type(None)), "text or null")
_TRUTH = _of_type(bool, "true or false")
_DATA = {
    "name": _TEXT,
    "data_dir": _OPTIONAL_TEXT,
    "image_size": checks.positive_integer,
    "max_unreadable": checks.whole_number,
    "fingerprint": _OPTIONAL_TEXT,
    "preprocessing": lambda _, recipe: preprocessing.check(recipe),
}
_TRAINING = {
    "preset": _OPTIONAL_TEXT,
    "batch_size": checks.positive_integer,
    "learning_rate": lambda name, value: checks.finite_number(name, value, above=0),
    "beta_2": lambda name, value: checks.finite_number(name, value, minimum=0),
    "warmup_steps": checks.whole_number,
    "steps": checks.positive_integer,
    "mixed_precision": _TRUTH,
    "xla": _TRUTH,
    "seed": checks.seed,
}
