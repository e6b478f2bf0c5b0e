"""Limited memory of curvature, one an item, and the step it proposes on the free coordinates.

The last m pairs s = x' - x, y = g' - g, oldest first the columns of S and Y, define the BFGS matrix
B and its inverse (Byrd, Nocedal and Schnabel 1994, theorems 2.2 and 2.3). Coordinates held at a
bound must not take part in a step, yet what they did while they were free must stay in the model,
so the step solves B_FF p = -g_F with the block of B on the free set F, as the subspace minimisation
of L-BFGS-B does (Byrd, Lu, Nocedal and Zhu 1995, section 5). With A the other coordinates, R the
upper triangle of S'Y and D its diagonal, p is 0 on A for the multipliers that the inverse needs:

    | S_A'S_A            S_A'Y_A - R           | |u|             |S'g_F|
    | (S_A'Y_A - R)'    -theta D - Y'Y + Y_A'Y_A | |v| = 1 / theta |Y'g_F|,

    p = -(g_F / theta + S u + Y v) on F.

R and Y'Y are kept and get one row and column a pair, so a step reads the memory twice, for products
with the newest y and g_F and for the sum, and its columns in A once more. Most of those are 0, for
the pair of a coordinate that is held and did not move is stored as 0 (theta counts it). Of more
than _MOST_HELD others the rest are taken for free here and cut off p afterwards: that block of a
positive definite matrix is positive definite too, so p descends.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

# Products of float32 vectors are summed in float64 over blocks this long: the two solves amplify
# the rounding of longer sums.
_BLOCK = 1024
_LARGEST = 1e30
_JITTER = 1e-13
_MOST_HELD = 64


class Curvature(NamedTuple):
    """Pairs of n items, m + 1 slots each: one is free for the next pair.

    vectors: (n * blocks * 2 (m + 1), D / blocks), for each item and block of coordinates m + 1
    steps and m + 1 changes, circular buffers. free_slot, count: (n,) int32. theta: (n,) float64,
    y'y / s'y of the last pair. mixed, changes: (n, m, m) float64, S'Y above and on the diagonal,
    and Y'Y, oldest pair first. rest: (n, D), pairs taken since one changed there.
    """

    vectors: tf.Tensor
    free_slot: tf.Tensor
    count: tf.Tensor
    theta: tf.Tensor
    mixed: tf.Tensor
    changes: tf.Tensor
    rest: tf.Tensor


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
        rest=tf.fill([items, dimension], tf.cast(memory, dtype)),
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


def learn(curvature, step, change, held, gradient):
    """Takes a pair an item if its curvature is positive.

    step, change: (n, D), finite, 0 for items without a new pair; held: (n, D) bool; gradient:
    (n, D), g_F. Returns the memory and the products S'g_F and Y'g_F, (n, 2 m) float64, oldest pair
    first.
    """
    memory, (_, blocks, width) = curvature.mixed.shape[1], (parts := _split(step)).shape
    slots = memory + 1
    first = tf.range(tf.shape(step)[0] * blocks) * (2 * slots)
    line = first + tf.repeat(curvature.free_slot, blocks)
    stored = tf.where((step == 0.0) & held, tf.cast(0.0, change.dtype), change)
    stored_parts = _split(stored)
    # tf.tensor_scatter_nd_update would copy the whole memory, hundreds of megabytes, every time.
    # In place is safe: nothing reads the tensor from before the update.
    vectors = curvature.vectors
    for lines, pairs in ((line, parts), (line + slots, stored_parts)):
        vectors = tf.raw_ops.InplaceUpdate(x=vectors, i=lines, v=tf.reshape(pairs, [-1, width]))
    probes = tf.stack([stored_parts, _split(gradient)], 2)
    products = tf.matmul(probes, _grouped(vectors, blocks, slots), transpose_b=True)
    products = tf.reduce_sum(tf.cast(products, tf.float64), 1)

    squared, largest = (tf.cast(tf.reduce_sum(v * v, -1), tf.float64) for v in (step, change))
    own = tf.gather(products[:, 0], curvature.free_slot, batch_dims=1)
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
            tf.where(stored == 0.0, curvature.rest + tf.cast(kept, step.dtype)[:, None], 0.0),
        ),
        products[:, 1],
    )


def _grouped(vectors, blocks, slots):
    return tf.reshape(vectors, [-1, blocks, 2 * slots, vectors.shape[1]])


def propose(curvature, products, gradient, held):
    """The step p of the module's docstring before it is set to 0 on the held coordinates: (n, D).

    products: what `learn` returned; gradient: (n, D), g_F; held: (n, D) bool.
    """
    dimension, memory = gradient.shape[1], curvature.mixed.shape[1]
    blocks, slots = _blocks(dimension), memory + 1
    grouped = _grouped(curvature.vectors, blocks, slots)
    columns = _columns(grouped, held & (curvature.rest < memory))
    by_age = (curvature.free_slot[:, None] + 1 + tf.range(memory)) % slots
    by_age = tf.concat([by_age, by_age + slots], 1)
    columns = tf.gather(columns, by_age, batch_dims=1)
    held_products = tf.cast(tf.matmul(columns, columns, transpose_b=True), tf.float64)
    weights = -_solve(curvature, products, held_products)
    # The free slot comes last.
    age = (tf.range(slots) - curvature.free_slot[:, None] - 1) % slots
    weights = tf.pad(tf.reshape(weights, [-1, 2, memory]), [[0, 0], [0, 0], [0, 1]])
    weights = tf.gather(weights, tf.repeat(age[:, None], 2, axis=1), axis=2, batch_dims=2)
    weights = tf.cast(tf.reshape(weights, [-1, 1, 1, 2 * slots]), gradient.dtype)
    combined = tf.matmul(tf.repeat(weights, blocks, axis=1), grouped)
    combined = tf.reshape(combined, [-1, blocks * combined.shape[3]])[:, :dimension]
    return combined - gradient * tf.cast(1.0 / curvature.theta, gradient.dtype)[:, None]


def _columns(grouped, chosen):
    """The first k = _MOST_HELD columns `chosen`, (n, D) bool, of each item: (n, 2 (m + 1), k).

    k depends on no item, for another length of a sum may change its rounding.
    """
    _, blocks, lines, width = grouped.shape
    items = tf.shape(chosen)[0]
    # int64: there may be more than 2^31 entries.
    item, column = tf.unstack(tf.where(chosen), axis=1)
    counts = tf.reduce_sum(tf.cast(chosen, tf.int64), 1)
    place = tf.range(tf.size(item, tf.int64)) - tf.gather(tf.cumsum(counts, exclusive=True), item)
    # In the column's first line; the others follow a width apart.
    entry = (item * blocks + column // width) * (lines * width) + column % width
    fits = tf.where(place < _MOST_HELD)[:, 0]
    where = tf.gather(tf.stack([item, place], 1), fits)
    entries = tf.fill([items, _MOST_HELD], tf.constant(-1, tf.int64))
    entries = tf.tensor_scatter_nd_update(entries, where, tf.gather(entry, fits))
    index = tf.maximum(entries, 0)[:, None] + width * tf.range(lines, dtype=tf.int64)[:, None]
    columns = tf.gather(tf.reshape(grouped, [-1]), index)
    return tf.where(entries[:, None] >= 0, columns, tf.zeros_like(columns))


def _append(matrices, kept, column, is_symmetric):
    """The matrices of the items `kept` without their first row and column and with a new last."""
    row = column[:, None, :-1] if is_symmetric else tf.zeros_like(column[:, None, :-1])
    appended = tf.concat([matrices[:, 1:, 1:], row], 1)
    appended = tf.concat([appended, column[:, :, None]], 2)
    return tf.where(kept[:, None, None], appended, matrices)


def _solve(curvature, products, held):
    """(n, 2 m): u and v of the module's docstring, oldest first, 0 where no pair is used.

    products: (n, 2 m), of g_F with S and Y; held: (n, 2 m, 2 m), of S_A and Y_A.
    """
    memory = curvature.mixed.shape[1]
    steps, changes = slice(memory), slice(memory, 2 * memory)
    used = tf.range(memory) >= memory - curvature.count[:, None]
    both = used[:, :, None] & used[:, None, :]
    theta = curvature.theta[:, None]
    own = tf.linalg.diag_part(curvature.mixed)
    P = curvature.changes - held[:, changes, changes] + tf.linalg.diag(theta * own)
    P = _regular(tf.where(both, P, tf.eye(memory, dtype=tf.float64)))
    Q = tf.where(both, held[:, steps, changes] - curvature.mixed, 0.0)
    C = tf.where(both, held[:, steps, steps], tf.linalg.diag(tf.cast(~used, tf.float64)))
    along_steps, along_changes = (
        tf.where(used, products[:, part] / theta, 0.0)[..., None] for part in (steps, changes)
    )

    right = tf.concat([tf.linalg.matrix_transpose(Q), along_changes], 2)
    solved = tf.linalg.solve(P, tf.where(tf.math.is_finite(right), right, 0.0))
    back, changes_solved = solved[:, :, :memory], solved[:, :, memory:]
    right = along_steps + tf.matmul(Q, changes_solved)
    C = _regular(C + tf.matmul(Q, back))
    u = tf.linalg.solve(C, tf.where(tf.math.is_finite(right), right, 0.0))
    return tf.concat([u, tf.matmul(back, u) - changes_solved], 1)[..., 0]


def _regular(matrices):
    """The same positive definite matrices, the identity for one that is not.

    tf.linalg.solve raises for the whole batch when one matrix is singular.
    """
    diagonal = tf.linalg.diag_part(matrices)
    regular = tf.reduce_all(tf.math.is_finite(matrices), [1, 2]) & tf.reduce_all(diagonal > 0, 1)
    size = diagonal.shape[1]
    jittered = matrices + _JITTER * tf.linalg.diag(diagonal)
    return tf.where(regular[:, None, None], jittered, tf.eye(size, dtype=matrices.dtype))
