"""Convolutions in bfloat16 on processors that have no bfloat16."""

import functools
import os
import pathlib

import tensorflow as tf

# oneDNN's kernels for bfloat16 want one of the first two, those for ARM the third.
_BFLOAT16 = {"avx512f", "avx_ne_convert", "bf16"}
# Without TF_ENABLE_ONEDNN_OPTS TensorFlow uses oneDNN where there is one of these.
_ONEDNN = {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16", "bf16"}


@functools.cache
def has_bfloat16():
    """Whether TensorFlow has fast kernels for bfloat16 here: accelerators', or oneDNN's."""
    if any(device.device_type != "CPU" for device in tf.config.get_visible_devices()):
        return True
    features = _processor_features()
    chosen = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "").lower()
    has_onednn = chosen in ("1", "true") or not (chosen or _ONEDNN.isdisjoint(features))
    return has_onednn and not _BFLOAT16.isdisjoint(features)


def _processor_features():
    """Words of Linux's description of the processor; none on other systems."""
    try:
        return set(pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return set()


def convolved(function, *tensors):
    """A convolution of tensors in their own precision, and by the fast kernels.

    Where no kernel is made for bfloat16, gradients of convolutions are computed by loops that take
    many times as long as float32. There both are computed in float32 and rounded to bfloat16, which
    is what such kernels do: products of two bfloat16 are exact in float32, in which they add up.

    Args:
        function: of as many tensors, with gradients by all of them.
        *tensors: of one floating dtype.

    Returns:
        function(*tensors), of the same dtype.
    """
    dtype = tensors[0].dtype
    if dtype != tf.bfloat16 or has_bfloat16():
        return function(*tensors)
    return tf.cast(function(*(tf.cast(each, tf.float32) for each in tensors)), dtype)
