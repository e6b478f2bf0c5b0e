"""Inside a training step: no update from numbers that are not finite, and what they were."""

import re

import tensorflow as tf

from seatbelt_tf import replicas


def assert_finite(terms, gradients, step, variables, before):
    """Stops the step with InvalidArgumentError unless its loss and gradients are finite.

    Of the gradients those of biases and scales are looked at, in which every layer's errors meet:
    a thousandth of the work. `variables` that the step has already changed are put back, so that
    the model is as the last good step left it. One replica's numbers stop all of them. XLA drops
    assertions.

    Args:
        terms: dict of name to the tensors whose means have to be finite.
        gradients: the gradients, None where there is none.
        step: number of updates so far.
        variables: those which the forward pass updates, statistics of batch normalisation.
        before: their values before it.

    Returns:
        A context manager: operations made inside it run only after the check has passed.
    """
    small = [tf.reduce_sum(tf.cast(g, tf.float32)) for g in gradients if _is_small(g)]
    values = {name: tf.reduce_mean(term) for name, term in terms.items()}
    values["gradients"] = tf.add_n(small) if small else tf.constant(0.0)
    is_finite = replicas.everywhere(
        tf.reduce_all(tf.math.is_finite(tf.stack(list(values.values()))))
    )
    for variable, old in zip(variables, before, strict=True):
        variable.assign(tf.where(is_finite, variable.value, old))
    data = [part for name, value in values.items() for part in (name, value)]
    check = tf.debugging.Assert(
        is_finite, ["Invalid loss at step", step, "Expected finite terms. Received", *data]
    )
    return tf.control_dependencies([] if check is None else [check])


def _is_small(gradient):
    return gradient is not None and len(gradient.shape) == 1


def message(error):
    """What a check of this package found, from the error that stopped the step: one line, or None.

    Terms that are finite are left out.

    Args:
        error: `tf.errors.InvalidArgumentError`.
    """
    text = re.search(r"assertion failed: (\[Invalid .*\])", error.message or "")
    if text is None:
        return None
    parts = re.findall(r"\[([^\[\]]*)\]", text[1])
    if not parts[0].startswith("Invalid loss"):
        return " ".join(parts)
    head, pairs = parts[:3], zip(parts[3::2], parts[4::2], strict=False)
    wrong = [
        f"{name} = {value.replace('-nan', 'nan')}"
        for name, value in pairs
        if not re.match(r"-?\d", value)
    ]
    return f"{' '.join(head)} {', '.join(wrong) or 'others on another replica'}"
