"""Limited memory of curvature, one an item, and the step it proposes on the free coordinates.

The last m pairs s = x' - x, y = g' - g, oldest first the columns of S and Y, define the inverse
BFGS matrix (Byrd, Nocedal and Schnabel 1994, theorem 2.2). With R the upper triangle of S'Y, D its
diagonal and g_F the gradient on the free coordinates, 0 on those held at a bound,

    w = R^-1 S'g_F,   a = R^-T (D w + (Y'Y w - Y'g_F) / theta),
    p = -(g_F / theta + S a - Y w / theta), then 0 on the held coordinates.

Two passes over the memory a step, one for products with the newest y and with g_F, one for the sum:
R and Y'Y are kept and get one row and column a pair. The matrix on the free coordinates alone is
positive definite like the whole, so p descends. A held coordinate that does not move teaches
nothing about the free ones: its y is stored as 0.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

# Products of float32 vectors are summed in float64 over blocks this long: the two solves amplify
# the rounding of longer sums.
_BLOCK = 1024
_LARGEST = 1e30


class Curvature(NamedTuple):
    """Pairs of n items, m + 1 slots each: one is free for the next pair.

    vectors: (n * blocks * 2 (m + 1), D / blocks), for each item and block of coordinates m + 1
    steps and m + 1 changes, circular buffers. free_slot, count: (n,) int32. theta: (n,) float64,
    y'y / s'y of the last pair. mixed, changes: (n, m, m) float64, S'Y above and on the diagonal,
    and Y'Y, oldest pair first.
    """

    vectors: tf.Tensor
    free_slot: tf.Tensor
    count: tf.Tensor
    theta: tf.Tensor
    mixed: tf.Tensor
    changes: tf.Tensor


def _blocks(dimension):
    return -(-dimension // _BLOCK)


def _split(vectors):
    """(n, D) -> (n, blocks, ceil(D / blocks)), zeros at the end."""
    dimension = vectors.shape[1]
    blocks = _blocks(dimension)
    width = -(-dimension // blocks)
    if blocks * width > dimension:
        vectors = tf.pad(vectors, [[0, 0], [0, blocks * width - dimension]])
    return tf.reshape(vectors, [-1, blocks, width])


def empty(items, memory, dimension, dtype):
    """A memory without pairs for `items` problems of `dimension` coordinates."""
    blocks = _blocks(dimension)
    shape = [items * blocks * 2 * (memory + 1), -(-dimension // blocks)]
    return Curvature(
        # Not tf.zeros: that may become a constant of the graph, and `learn` writes in place.
        vectors=tf.raw_ops.Empty(shape=tf.stack(shape), dtype=dtype, init=True),
        free_slot=tf.zeros([items], tf.int32),
        count=tf.zeros([items], tf.int32),
        theta=tf.ones([items], tf.float64),
        mixed=tf.zeros([items, memory, memory], tf.float64),
        changes=tf.zeros([items, memory, memory], tf.float64),
    )


def take(curvature, rows):
    """The memory of the items `rows`, (k,) int32."""
    items = tf.shape(curvature.count)[0]
    vectors = curvature.vectors
    width = vectors.shape[1]
    grouped = tf.gather(tf.reshape(vectors, [items, -1, width]), rows)
    small = [tf.gather(part, rows) for part in curvature[1:]]
    return Curvature(tf.reshape(grouped, [-1, width]), *small)


def forget(curvature, which):
    """Drops all pairs of the items `which`, (n,) bool; theta stays."""
    return curvature._replace(count=tf.where(which, 0, curvature.count))


def learn(curvature, step, change, gradient):
    """Takes a pair an item if its curvature is positive.

    step, change: (n, D), finite, 0 for items without a new pair; gradient: (n, D), g_F. Returns the
    memory and the products S'g_F and Y'g_F, (n, 2 m) float64, oldest pair first.
    """
    memory, (_, blocks, width) = curvature.mixed.shape[1], (parts := _split(step)).shape
    slots = memory + 1
    first = tf.range(tf.shape(step)[0] * blocks) * (2 * slots)
    line = first + tf.repeat(curvature.free_slot, blocks)
    change = _split(change)
    # tf.tensor_scatter_nd_update would copy the whole memory, hundreds of megabytes, every time.
    # In place is safe: nothing reads the tensor from before the update.
    vectors = curvature.vectors
    for lines, pairs in ((line, parts), (line + slots, change)):
        vectors = tf.raw_ops.InplaceUpdate(x=vectors, i=lines, v=tf.reshape(pairs, [-1, width]))
    probes = tf.stack([change, _split(gradient)], 2)
    products = tf.matmul(probes, _grouped(vectors, blocks, slots), transpose_b=True)
    products = tf.reduce_sum(tf.cast(products, tf.float64), 1)

    squared = tf.cast(tf.reduce_sum(step * step, -1), tf.float64)
    own, largest = (
        tf.gather(products[:, 0], curvature.free_slot + offset, batch_dims=1)
        for offset in (0, slots)
    )
    # Less than this is rounding of the gradients, not curvature.
    least = np.finfo(step.dtype.as_numpy_dtype).eps * tf.sqrt(largest * squared)
    kept = (own > least) & (largest < _LARGEST * squared)
    free_slot = tf.where(kept, (curvature.free_slot + 1) % slots, curvature.free_slot)
    by_age = (free_slot[:, None] + 1 + tf.range(memory)) % slots
    by_age = tf.concat([by_age, by_age + slots], 1)
    products = tf.gather(products, by_age, axis=2, batch_dims=1)
    return (
        Curvature(
            vectors,
            free_slot,
            tf.where(kept, tf.minimum(curvature.count + 1, memory), curvature.count),
            tf.where(kept, largest / tf.where(kept, own, 1.0), curvature.theta),
            _append(curvature.mixed, kept, products[:, 0, :memory], is_symmetric=False),
            _append(curvature.changes, kept, products[:, 0, memory:], is_symmetric=True),
        ),
        products[:, 1],
    )


def _grouped(vectors, blocks, slots):
    return tf.reshape(vectors, [-1, blocks, 2 * slots, vectors.shape[1]])


def propose(curvature, products, gradient):
    """The step p of the module's docstring before it is set to 0 on the held coordinates: (n, D).

    products: what `learn` returned; gradient: (n, D), g_F.
    """
    dimension, memory = gradient.shape[1], curvature.mixed.shape[1]
    blocks, slots = _blocks(dimension), memory + 1
    weights = _weights(curvature, products[:, :memory], products[:, memory:])
    # The free slot comes last.
    age = (tf.range(slots) - curvature.free_slot[:, None] - 1) % slots
    weights = tf.pad(tf.reshape(weights, [-1, 2, memory]), [[0, 0], [0, 0], [0, 1]])
    weights = tf.gather(weights, age, axis=2, batch_dims=1)
    weights = tf.cast(tf.reshape(weights, [-1, 1, 1, 2 * slots]), gradient.dtype)
    weights = tf.repeat(weights, blocks, axis=1)
    combined = tf.matmul(weights, _grouped(curvature.vectors, blocks, slots))
    width = combined.shape[3]
    combined = tf.reshape(combined, [-1, blocks * width])[:, :dimension]
    return combined - gradient / tf.cast(curvature.theta, gradient.dtype)[:, None]


def _append(matrices, kept, column, is_symmetric):
    """The matrices of the items `kept` without their first row and column and with a new last."""
    row = column[:, None, :-1] if is_symmetric else tf.zeros_like(column[:, None, :-1])
    appended = tf.concat([matrices[:, 1:, 1:], row], 1)
    appended = tf.concat([appended, column[:, :, None]], 2)
    return tf.where(kept[:, None, None], appended, matrices)


def _weights(curvature, along_steps, along_changes):
    """(n, 2 m): -a and w / theta of the module's docstring, oldest first, 0 where unused."""
    memory = along_steps.shape[1]
    used = tf.range(memory) >= memory - curvature.count[:, None]
    both = used[:, :, None] & used[:, None, :]
    theta = curvature.theta[:, None]
    along_steps, along_changes = (tf.where(used, v, 0.0) for v in (along_steps, along_changes))
    own = tf.where(used, tf.linalg.diag_part(curvature.mixed), 1.0)
    triangle = tf.linalg.set_diag(tf.where(both, curvature.mixed, 0.0), own)
    changes = tf.where(both, curvature.changes, 0.0)
    w = tf.linalg.triangular_solve(triangle, along_steps[..., None], lower=False)
    right = own * w[..., 0] + (tf.matmul(changes, w)[..., 0] - along_changes) / theta
    a = tf.linalg.triangular_solve(triangle, right[..., None], lower=False, adjoint=True)
    return tf.concat([-a[..., 0], w[..., 0] / theta], 1)
