"""Lowering a network to a Plan: a flat list of kernel calls over numbered buffers.

A plan is plain data.  It knows shapes, dtypes and the order of operations, and nothing of layers,
arrays or backends; an executor (``kernels/*/executor.py``) binds it to memory and runs it.  Layers
describe themselves to a `Builder` by forward operations only; the backward operations follow from
the table in `fusedmlp.plan.adjoints`.

What each op computes (n is the number of rows of the batch):

======================== ==================== ==================== ==========================
op                       inputs               outputs              attributes
======================== ==================== ==================== ==========================
gather                   --                   rows of data[source] source
dense                    x, kernel[, bias]    y[, z]               activation, params
sparse_dense             rows, kernel[, bias] y[, z]               activation, params, source
densify                  rows                 x                    source
activation               x                    y                    activation, params
prelu                    x, alpha             y                    --
dropout, alpha_dropout   x                    y, mask              rate, stream, seed
gaussian_dropout         x                    y, mask              stddev, stream, seed
gaussian_noise           x                    y                    stddev, stream, seed
batch_statistics         x, m, v[, w]         mean, inv            momentum, epsilon
standardize              x, mean, inv         y                    scale, center
                         [, gamma][, beta]
fold_statistics          m, v[, gamma]        a, b                 epsilon, scale, center
                         [, beta]
scale_shift              x, a, b              y                    --
row_norm                 x[, gamma][, beta]   y[, inv[, mean]]     kind, epsilon, scale, center
embedding                indices, table       y                    --
reshape                  x                    y                    --
take_columns             x                    y                    index
spectral_norm            kernel, u            -- (both)            iterations, epsilon
softmax_cross_entropy    logits, labels[, w]  losses[, d[, hits]]  label_smoothing, reduction,
                                                                   weight, ignore_index
row_loss                 p, labels[, w]       losses[, d]          the same, loss and params
elementwise_loss         p, labels[, w]       losses[, d]          loss, params, reduction,
                                                                   weight, label_smoothing
distribution_loss        p, labels[, w]       losses[, d]          loss, params, reduction, weight
overlap_loss             p, labels[, w]       losses[, d]          the same and axis
pair_loss                p, labels[, w]       losses[, d]          loss, params, reduction, weight
score                    p, labels            scores               score, params
tally                    p, labels[, w]       --                   tally, options, total
reduce                   rows[, w]            --                   total, reduction, weight,
                                                                   counts
penalty                  parameter[, w]       --                   total, l1, l2, per_rows
activity_penalty         y                    rows[, d]            linear, l1, l2
add, subtract, multiply, a, b                 y                    --
divide, maximum, minimum
affine                   x                    factor x + shift     factor, shift
power                    x                    x ** exponent        exponent
log                      x                    log x                --
broadcast                x (n, 1)             factor x in each     factor
                                              column
row_sum                  x                    factor sum_k x_k     factor
row_dot                  a, b                 sum_k a_k b_k        --
scale_rows               x, s (n, 1)          s x                  --
concatenate              x1, x2, ...          side by side         groups
repeat                   parameter (1, c)     its row in each row  --
slice                    x                    some columns of x    start, groups
python                   x1, ... [, p1, ...]  y1, ...              function, gradient, name,
                                                                   reads
column_affine            x                    y                    before, scale, after
feature_norm             x, mean, variance    y                    least, invert, center
digitize                 x                    y                    boundaries
encode                   x                    y                    depth, kind
step_mask                x                    mask                 steps, value
keep_steps               x, mask              y                    steps
pool                     x[, mask]            y                    steps, kind
row_weights              [w][, mask]          weights              steps, over, given,
                         [, labels]                                ignore_index
activation_grad          dy, x or y           dx (may be dy)       activation, params
dense_dw                 x, dz                dkernel              --
sparse_dw                rows, dz             dkernel              source
dense_db                 dz                   dbias                --
dense_dx                 dz, kernel[, x or y] dx                   activation, params
prelu_grad               dy, x, alpha         dx[, dalpha]         --
maximum_grad             dy, a, b             da                   --
minimum_grad             dy, a, b             da                   --
place                    dy                   dx, 0 elsewhere      start, groups
accumulate               dp, spare            dp + spare, in dp    --
batch_norm_sums          dy, x, mean, inv     dgamma, dbeta        --
batch_norm_dx            dy, x, mean, inv,    dx (may be dy)       scale
                         dgamma, dbeta
                         [, gamma][, w]
scale_columns            dy, a                dx (may be dy)       --
row_norm_grad            dy, x, inv[, mean]   dx                   kind, epsilon, scale
                         [, gamma]
gamma_grad               dy, x, inv[, mean]   dgamma               --
embedding_grad           indices, dy          dtable               --
put_columns              dy                   dx                   index
pool_grad                dy[, mask][, x, y]   dx                   steps, kind
penalty_grad             parameter[, w]       dparameter           l1, l2, per_rows, adds
orthogonal_penalty       parameter            [dparameter]         total, factor, mode, adds
collect                  --                   --                   slot, every, parameters
clip                     --                   --                   kind, limit, every, parameters
update                   --                   --                   optimizer, params, rate, every,
                                                                   parameters, slots, exempt
average                  --                   --                   slot, momentum, overwrite, every,
                                                                   parameters
constrain                parameter            -- (itself)          kind, low, high, rate,
                                                                   epsilon, axis
observe                  y[, x or y]          --                   record, every, units,
                                                                   activation, params, below
observe_parameter        parameter, dp        --                   record, every
observe_update           parameter            --                   record, every
======================== ==================== ==================== ==========================

``dense_dx`` is dz @ kernel.T, times the derivative of `activation` at its third input where there
is one. ``dense``, ``dense_dx`` and ``dense_dw`` have an attribute `precision` "bfloat16" where the
factors of the product are rounded to that. A loss's gradient ``d`` is that of ``weight *
sum(losses) / n`` for reduction "mean" and of ``weight * sum(losses)`` for "sum". With an
`ignore_index` the mean is over the k rows whose label is another one: k takes the place of n, and
``losses`` are multiplied by n / k; for reduction "weighted_mean" k is the sum of their weights. An
overlap loss is one number for the whole batch, which every row gets, unless `axis` is "rows".
``reduce`` adds to total k `weight` times the sum of its rows,
and n if it `counts`; with w the sum of rows times w and the sum of w; with reduction "sum" n times
the sum, and n. ``concatenate`` and ``slice`` cut the columns of their wide side into `groups` of
equal width and work on each. ``maximum_grad`` passes dy where a is the larger one, and half of it
where both are equal. The outputs of ``add``, ``subtract`` and ``multiply`` may be their first
input. ``accumulate`` adds the gradient of a further use of a parameter, which lies behind the
trainable part of the gradient arena. ``python`` calls ``function(inputs, outputs)`` with tuples of
arrays: the first `reads` inputs, read-only, and the outputs, which it must fill (an output may be a
parameter, as a matrix); those of the phase "end" come behind everything else. ``penalty`` adds
to total k n times ``l1 sum |w| + l2 sum w^2`` (once with `per_rows`, whose penalties are divided by
n; n / sum w times where w is given, and they are divided by its sum) and nothing to its count;
``penalty_grad`` adds ``l1 sign(w) + 2 l2 w`` (divided likewise) to a parameter's gradient, or is it
where the loss gives none (`adds` False).

``collect``, ``clip``, ``update`` and ``average`` work on the parameters that begin at the offsets
`parameters` of the arena, whose gradients lie at the same offsets in a gradient arena.
``collect`` adds gradients to the state
array number `slot`, and in every step number `every` (2 `every`, ...) turns gradients into the mean
of the last `every` and the array into 0; in the other steps ``clip`` and ``update`` do nothing.
``clip`` keeps gradients within `limit`: each element (`kind` "value"), the norm of each parameter's
("norm") or the norm of all together ("global_norm"; one that is not finite makes all NaN).
``update`` applies a row of `spec.OPTIMIZERS` with the learning rate times `rate`; `slots` holds for
each of the row's slots the number of a state array and the offset of each parameter's part, and
`exempt` says for each parameter whether it is spared the weight decay. ``average`` replaces state a
by ``momentum a + (1 - momentum) w``, by w before the first update, and w by a in every update
number `overwrite` (0: never).

``batch_statistics`` are the mean of each column and ``inv = 1 / sqrt(variance + epsilon)``; they
move the parameters m and v, ``m <- momentum m + (1 - momentum) mean``; rows count by their
weights w, whose mean is 1. ``standardize`` is
``(x - mean) inv gamma + beta``. ``fold_statistics`` gives the a and b with which ``scale_shift``,
``a x + b``, does the same with m and v. ``row_norm`` treats each row alike: of kind "layer" by its
mean and variance, of kind "rms" by its mean square, of kind "unit" by its Euclidean norm.
``embedding`` puts the rows of the table side by side that the columns of `indices` name; those that
name none are NaN. ``take_columns`` is ``y[:, j] = x[:, index[j]]``. ``activity_penalty`` gives the
penalty of each row, and its gradient divided by n. ``alpha_dropout`` and the Gaussian ops are those
of the Keras layers. ``constrain`` kind "norm" scales each column (axis 0), each row (axis 1) or the
whole (axis None) of a parameter to a norm between `low` and `high`, by ``rate``; kind
"non_negative" is ``max(w, 0)``. ``spectral_norm`` divides the kernel by an estimate of its largest
singular value, which u keeps.

A sample of several dimensions is a row of a buffer (its elements in order), or as many rows as
`Buffer.repeat` says, so that ops on the last axis see it as the columns; ``reshape`` goes from one
form to the other. Which shape a sample has is known to the `Builder` alone.

``column_affine`` is ``(x - before) * scale + after`` with a number of each for every column,
``feature_norm`` is ``(x - mean) / s`` with ``s = max(sqrt(variance), least)``, or ``x s + mean``
where it is inverted; without `center` the mean counts as 0. ``digitize`` counts the boundaries that
are not above x, ``encode`` makes vectors of `depth` of whole numbers: of each ("one_hot"), or of a
row ("multi_hot", "count"); both have no derivative.

``step_mask`` is 1 for each of the `steps` of a sample with an element that is not `value`, else 0;
``keep_steps`` is x where the mask is not 0, else 0; ``pool`` the mean of these steps or (`kind`
"max") the largest of all. A loss, score or tally may have several rows for each row of the batch,
as many as its labels have; the mean is over all of them. ``row_weights`` are the weights of the
rows of a loss: those of samples or rows times the mask, 0 for labels `ignore_index`, and times such
a number that the mean of weighted losses over all rows is that over the rows that count (`over`
"kept") or over their weights ("weights"); `given` says which of the inputs there are. Losses with
such weights have the reduction "mean_of_all", a mean over all rows, ignored ones included.

A plan that observes writes what `Plan.observations` lists into the executor's `records`, in every
step number `every` (2 `every`, ...), four numbers each.  ``observe`` writes of a buffer the sum of
squares, the number of elements, how many of them have a slope of `activation` within `below` of 0
(the second input is what the derivative reads), and how many columns have no other; to the
executor's `units` from number `units` on it adds for each column how often the slope was another.
``observe_parameter`` writes the sums of squares of a parameter and of its gradient before both are
changed, ``observe_update`` that of the parameter's change since then.

A matrix in compressed rows is data of which a step gathers where its rows begin and end (the role
"sparse", two columns). A product with it is ``sparse_dense``, and where something else reads it
``densify`` writes out the rows of the batch.
"""

from fusedmlp.kernels.layout import layout

from .builder import Builder
from .data import Buffer, Observation, Op, Plan, pitch

__all__ = ["Buffer", "Builder", "Observation", "Op", "Plan", "layout", "pitch"]
