"""Limited memory of curvature, one an item, and the step it proposes on the free coordinates.

The last m pairs s = x' - x, y = g' - g define the BFGS matrix B = theta I - W M W' with
W = [Y, theta S] (Byrd, Nocedal and Schnabel 1994, theorem 2.3). Coordinates held at a bound must
not take part in a step, yet what they did while they were free must stay in the model, so the step
solves B_FF p = -g_F with the block of B on the free set F, as the subspace minimisation of L-BFGS-B
does (Byrd, Lu, Nocedal and Zhu 1995, section 5), by Sherman, Morrison and Woodbury. With A the
other coordinates, D and L the diagonal and the part of S'Y whose s is newer than y, R = S_F'Y_F
where s is no newer, and L_A the part of S_A'Y_A where s is newer:

    P = D + Y_F'Y_F / theta,   Q = L_A - R,   C = theta S_A'S_A + Q P^-1 Q',
    v = C^-1 (theta S'g_F + Q P^-1 Y'g_F),   u = P^-1 (Q'v - Y'g_F),
    p = -(g_F / theta + Y_F u / theta^2 + S_F v / theta).

All of it is one batched matrix product a step and two m x m solves an item. Splitting products
over F and A rather than subtracting one from the other keeps the cancellation out of float32.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

# Products of float32 vectors are summed in float64 over blocks this long: the two solves amplify
# the rounding of longer sums.
_BLOCK = 1024
_LARGEST = 1e30
_JITTER = 1e-13


class Curvature(NamedTuple):
    """Pairs of n items, m slots each, as circular buffers.

    vectors: (n * blocks * 2 (m + 1), D / blocks), for each item and block of coordinates m steps,
    a row of zeros, m changes and the item's current gradient, so that one matrix product serves
    pairs and gradient. next_slot, count: (n,) int32. theta: (n,) float64, y'y / s'y of the last
    pair. own: (n, m) float64, s'y of every slot.
    """

    vectors: tf.Tensor
    next_slot: tf.Tensor
    count: tf.Tensor
    theta: tf.Tensor
    own: tf.Tensor


def _blocks(dimension):
    return -(-dimension // _BLOCK)


def _split(vectors):
    """(n, D) -> (n * blocks, ceil(D / blocks)), zeros at the end."""
    dimension = vectors.shape[1]
    blocks = _blocks(dimension)
    width = -(-dimension // blocks)
    vectors = tf.pad(vectors, [[0, 0], [0, blocks * width - dimension]])
    return tf.reshape(vectors, [-1, width])


def empty(items, memory, dimension, dtype):
    """A memory without pairs for `items` problems of `dimension` coordinates."""
    blocks = _blocks(dimension)
    shape = [items * blocks * 2 * (memory + 1), -(-dimension // blocks)]
    return Curvature(
        # Not tf.zeros: that may become a constant of the graph, and `remember` writes in place.
        vectors=tf.raw_ops.Empty(shape=tf.stack(shape), dtype=dtype, init=True),
        next_slot=tf.zeros([items], tf.int32),
        count=tf.zeros([items], tf.int32),
        theta=tf.ones([items], tf.float64),
        own=tf.zeros([items, memory], tf.float64),
    )


def take(curvature, rows):
    """The memory of the items `rows`, (k,) int32."""
    items = tf.shape(curvature.count)[0]
    vectors = curvature.vectors
    width = vectors.shape[1]
    grouped = tf.gather(tf.reshape(vectors, [items, -1, width]), rows)
    small = [tf.gather(part, rows) for part in curvature[1:]]
    return Curvature(tf.reshape(grouped, [-1, width]), *small)


def remember(curvature, moved, step, change, gradient):
    """Stores the gradient, and for the items `moved` the pair if its curvature is positive.

    moved: (n,) bool; step, change, gradient: (n, D). Both members of a pair are divided by the
    length of the step, which leaves B as it is and keeps the products in range.
    """
    memory = curvature.own.shape[1]
    squared = tf.cast(tf.reduce_sum(step * step, -1), tf.float64)
    inverse = tf.math.rsqrt(tf.where(squared > 0.0, squared, 1.0))
    own = tf.cast(tf.reduce_sum(step * change, -1), tf.float64) * inverse**2
    largest = tf.cast(tf.reduce_sum(change * change, -1), tf.float64) * inverse**2
    # Less than this is rounding of the gradients, not curvature.
    least = np.finfo(step.dtype.as_numpy_dtype).eps * tf.sqrt(largest)
    kept = moved & (squared > 0.0) & (own > least) & (largest < _LARGEST)

    factor = tf.cast(tf.where(kept, inverse, 0.0), step.dtype)[:, None]
    step = tf.where(kept[:, None], step * factor, tf.zeros_like(step))
    # An item without a new pair writes zeros and its gradient where these stand anyway.
    change = tf.where(kept[:, None], change * factor, gradient)
    blocks = _blocks(step.shape[1])
    first = tf.range(tf.shape(step)[0] * blocks) * (2 * (memory + 1))
    slot = first + tf.repeat(tf.where(kept, curvature.next_slot, memory), blocks)
    # tf.tensor_scatter_nd_update would copy the whole memory, hundreds of megabytes, every time.
    # In place is safe: nothing reads the tensor from before the update.
    vectors = tf.raw_ops.InplaceUpdate(
        x=curvature.vectors,
        i=tf.concat([slot, slot + memory + 1, first + 2 * memory + 1], 0),
        v=tf.concat([_split(step), _split(change), _split(gradient)], 0),
    )
    here = kept[:, None] & (tf.range(memory) == curvature.next_slot[:, None])
    return Curvature(
        vectors,
        tf.where(kept, (curvature.next_slot + 1) % memory, curvature.next_slot),
        tf.where(kept, tf.minimum(curvature.count + 1, memory), curvature.count),
        tf.where(kept, largest / tf.where(kept, own, 1.0), curvature.theta),
        tf.where(here, own[:, None], curvature.own),
    )


def forget(curvature, which):
    """Drops all pairs of the items `which`, (n,) bool; theta stays."""
    return curvature._replace(count=tf.where(which, 0, curvature.count))


def propose(curvature, free):
    """The step p of the module's docstring: (n, D), 0 outside the free set.

    free: (n, D) bool. The gradient is the one last given to `remember`.
    """
    vectors, theta = curvature.vectors, curvature.theta[:, None]
    memory, dimension = curvature.own.shape[1], free.shape[1]
    blocks = _blocks(dimension)
    lines, width = 2 * (memory + 1), vectors.shape[1]
    items = tf.shape(free)[0]

    free = tf.cast(free, vectors.dtype)
    masks = tf.stack([_split(1.0 - free), _split(free)], 1)[:, :, None]
    masked = tf.reshape(vectors, [items * blocks, 2, memory + 1, width]) * masks
    vectors = tf.reshape(vectors, [items * blocks, lines, width])
    products = tf.matmul(
        tf.reshape(masked, [items * blocks, lines, width]), vectors, transpose_b=True
    )
    products = tf.reshape(products, [items, blocks, lines, lines])
    products = tf.reduce_sum(tf.cast(products, tf.float64), 1)

    age = tf.range(memory)
    order = (curvature.next_slot[:, None] - 1 - age) % memory
    gradient_line = tf.fill([items, 1], 2 * memory + 1)
    lines_by_age = tf.concat([order, order + memory + 1, gradient_line], 1)
    products = tf.gather(products, lines_by_age, batch_dims=1)
    products = tf.gather(products, lines_by_age, axis=2, batch_dims=1)
    used = age < curvature.count[:, None]
    own = tf.gather(curvature.own, order, batch_dims=1)
    u, v = _solve(products, used, own, theta)

    slot_age = (curvature.next_slot[:, None] - 1 - age) % memory
    u, v = (tf.gather(part, slot_age, batch_dims=1) for part in (u, v))
    weights = tf.concat([v / theta, tf.zeros_like(theta), u / theta**2, 1.0 / theta], 1)
    weights = tf.repeat(tf.cast(weights, vectors.dtype), blocks, axis=0)
    combined = tf.reshape(tf.matmul(weights[:, None], vectors), [items, blocks * width])
    return -combined[:, :dimension] * free


def _solve(products, used, own, theta):
    """u and v of the module's docstring, (n, m), newest pair first, 0 where no pair is used.

    products: (n, 2 m + 1, 2 m + 1), of S_A, Y_F and g_F with S, Y and g.
    """
    memory = used.shape[1]
    steps, changes = slice(memory), slice(memory, 2 * memory)
    identity = tf.eye(memory, dtype=tf.float64)
    both = used[:, :, None] & used[:, None, :]
    held_steps = tf.where(both, products[:, steps, steps], 0.0) * theta[..., None]
    held_mixed = tf.linalg.set_diag(products[:, steps, changes], tf.zeros_like(own))
    free_mixed = tf.linalg.matrix_transpose(products[:, changes, steps])
    free_changes = products[:, changes, changes] / theta[..., None]
    P = tf.where(both, free_changes + tf.linalg.diag(own), identity)
    Q = tf.linalg.band_part(held_mixed, 0, -1) - tf.linalg.band_part(free_mixed, -1, 0)
    Q = tf.where(both, Q, 0.0)
    along_steps = tf.where(used, theta * products[:, -1, steps], 0.0)[..., None]
    along_changes = tf.where(used, products[:, -1, changes], 0.0)[..., None]

    P = _regular(P)
    right = tf.concat([tf.linalg.matrix_transpose(Q), along_changes], 2)
    solved = tf.linalg.solve(P, tf.where(tf.math.is_finite(right), right, 0.0))
    back, changes_solved = solved[:, :, :memory], solved[:, :, memory:]
    C = held_steps + tf.matmul(Q, back) + tf.linalg.diag(tf.cast(~used, tf.float64))
    right = along_steps + tf.matmul(Q, changes_solved)
    v = tf.linalg.solve(_regular(C), tf.where(tf.math.is_finite(right), right, 0.0))
    u = tf.matmul(back, v) - changes_solved
    return u[..., 0], v[..., 0]


def _regular(matrices):
    """The same positive definite matrices, the identity for one that is not.

    tf.linalg.solve raises for the whole batch when one matrix is singular.
    """
    diagonal = tf.linalg.diag_part(matrices)
    regular = tf.reduce_all(tf.math.is_finite(matrices), [1, 2]) & tf.reduce_all(diagonal > 0, 1)
    size = diagonal.shape[1]
    jittered = matrices + _JITTER * tf.linalg.diag(diagonal)
    return tf.where(regular[:, None, None], jittered, tf.eye(size, dtype=matrices.dtype))
