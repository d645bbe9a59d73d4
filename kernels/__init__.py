"""The contract of a backend: the names and argument order of every kernel, and no code.

Each folder beside this file is a backend: `reference` ("numpy", plain and readable, the oracle),
`cpu` ("cython", compiled).  A backend has the modules named in `KERNELS`, each with at least the
functions listed there, called by position in exactly that order.  Outputs come last, are written
in full, and are never allocated by a kernel except where one returns something.

Kernels trust their caller: `fusedmlp.ops` checks and copies for people, the plan for the executor.
What they may rely on:

- every array is C-contiguous, aligned, and of one floating dtype, float32 or float64, except
  `labels` (int64) where they are class indices; inputs may be read-only; an output may be the same
  array as an input only where it says so below;
- names are keys of `fusedmlp.spec`, `params` a tuple of floats in the row's order;
- any dimension may be 0;
- parameters of functions, epsilon and 1 - epsilon are rounded to the arrays' dtype.

dense
    x (n, d), kernel (d, m), bias (m,) or None, `activation` an elementwise row's name, out (n, m):
    ``z = x @ kernel + bias``, ``out = activation(z)``.  `preactivation` (n, m) receives z, or is
    None.  `dense_grad`: dz (n, m) is the gradient at z; dx (n, d) = dz @ kernel.T,
    dkernel (d, m) = x.T @ dz, dbias (m,) = dz.sum(axis=0); each of the three may be None.

activations
    `activation`: x and out of one shape for elementwise rows, (n, c) for "row" rows; for "halves" x
    (n, 2c) and out (n, c); for "pieces" x (n, pieces * c) and out (n, c). `out` is not x.
    `activation_grad`: `saved` is x or y, as the row's `reads` says; dx has the shape of x and may
    be dy itself where shapes agree. `prelu`: alpha (m,), x (n, m); `prelu_grad` adds nothing up
    into dalpha (m,), it overwrites.

losses
    Predictions (n, c); labels (n,) int64 or (n, c); sample_weight (n,) or None. `losses` (n,)
    receives the weighted loss of each row, the gradient array (n, c) or None the gradient of
    ``scale * sum(losses)``. A row whose label is `ignore_index` (None: no such label) gets loss 0
    and gradient 0. `label_smoothing` e turns targets t into t (1 - e) + e / c, in
    `elementwise_loss` into t (1 - e) + e / 2. There is one function for each kind of row in
    `fusedmlp.spec.LOSSES`, and one of its own for "softmax_cross_entropy", whose `hits` (n,) or
    None receives the score "categorical_hits", 0 where ignored. `elementwise_loss` averages the
    function over the last axis, or adds it up, as the row says. `distribution_loss`: predictions
    (n, 2c), labels (n, c). `overlap_loss`: `axis` says what is added up, "rows" (along each),
    "all", "columns" (down each, then the mean over columns) or "columns_sum" (their sum); but for
    "rows", every row gets the value of the whole batch times its weight. `pair_loss`: labels (n,);
    where `rescaled`, losses are multiplied by n / k, k the number of rows whose loss is above 0.

metrics
    `score`: a number for each row, by a row of `fusedmlp.spec.SCORES`; scores (n,) are not
    weighted. `tally`: adds to `state`, flat float64, what a row of `TALLIES` says, row by row in
    their order; options is float64, state and options as long as the row says.

optimizers
    One function per row of `fusedmlp.spec.OPTIMIZERS`, whose equations it computes: param and slots
    are updated in place, `grad` is read only, `step` counts from 1, `learning_rate` and
    hyperparameters are floats. Arrays are flat and of one length for "elementwise" rows. For
    "variable" rows param, grad and slots are (rows, columns) or (columns,), but `factored` slots
    "row" (rows,), of 1 for a vector, and "column" (columns,). What is 0 and never has a gradient
    but 0 stays 0, also where a quotient in the equations is 0/0: so does the padding of arenas.

random
    `dropout_mask`: out (n, m) receives 0 with probability `rate` and 1 / (1 - rate) otherwise,
    from Philox 4x32-10 with key (seed low, seed high) and counter (column // 4, row, step, stream);
    word ``column % 4`` of the block drops the element when below floor(rate * 2**32).

executor
    `Executor(plan, parameters, slots, seed)` runs a plan (see `fusedmlp.plan`, which also says
    what each op computes).  `plan` is read as plain data: `plan.buffers`, `plan.ops`,
    `plan.batch_size`, `plan.dtype`, `plan.inputs`, `plan.outputs`, `plan.totals`,
    `plan.parameter_size`, `plan.trainable_size`, `plan.observations`, `plan.units`.  `parameters`
    is the flat arena that all parameters lie in, `slots` the optimizer's flat state arrays, as long
    as the trainable part of the arena; both stay the caller's and are updated in place.  Methods
    and attributes:

    ``run(data, order, batch_size, start, stop, learning_rate, iteration, budget) -> step``
        Run steps `start` to `stop`; step s takes the rows ``order[s*batch_size:(s+1)*batch_size]``
        of every array in the tuple `data` (one per `plan.inputs`, 2-D, or 1-D int64 for class
        labels and 1-D for weights); the last step of an epoch may be shorter. ``learning_rate`` is
        a float64 array indexed by s; `iteration` is the number of updates made before step `start`,
        and the number before its own step is the `step` of a dropout mask. Returns the first step
        not run: `stop`, or earlier when about `budget` seconds are over, but at least one step on,
        or right after a step whose loss was not finite (then `nonfinite` is that step). Holds no
        lock of the interpreter where the backend can do without.
    ``forward(x, out)``
        For a plan without loss: predictions of all rows of x (N, d) into out (N, m); any N.  Where
        the plan has several inputs or outputs, both are tuples of such arrays.
    ``keep(data)``, ``release()``
        Until `release`, the arrays of the tuple `data` stay as they are: a backend may hold copies
        of its own from one `run` with just these to the next.  Of any other data it holds nothing.
    ``run`` and ``forward`` raise what a step in Python (op "python") raises; of the step that it
    belongs to, no update has been made.
    ``totals``
        float64 (len(plan.totals), 2), sums and counts added up by `run`; the caller zeroes it.
    ``nonfinite``
        -1, or the step at which `run` returned because the loss was not finite; the caller resets
        it.  With `check_finite` False, `run` goes on.
    ``record(records, first)``
        Have `run` write what the plan observes (see `fusedmlp.plan`) into `records`, float64
        (count, len(plan.observations), 4): in the step whose number, counted from 1, is k times
        the plan's `every`, into row ``k - 1 - first`` where there is such a row.  None ends it.
    ``units``
        float64 (plan.units,), counts that steps which are observed add to; the caller zeroes it.
    ``gradients``
        The flat gradient arena, laid out as the trainable part of `parameters`.  `run` overwrites
        the gradients that the plan computes; those of a plan that only updates are the caller's.
    ``buffer(index)``
        A copy of what the last step left in that buffer, only its valid rows and columns.
    ``threads``
        The number of threads that the next call may use.
"""

from fusedmlp.spec import OPTIMIZERS

KERNELS = {
    "dense": {
        "dense": ("x", "kernel", "bias", "activation", "params", "out", "preactivation"),
        "dense_grad": ("dz", "x", "kernel", "dx", "dkernel", "dbias"),
    },
    "activations": {
        "activation": ("name", "x", "params", "out"),
        "activation_grad": ("name", "dy", "saved", "params", "dx"),
        "prelu": ("x", "alpha", "out"),
        "prelu_grad": ("dy", "x", "alpha", "dx", "dalpha"),
    },
    "losses": {
        "softmax_cross_entropy": (
            "logits", "labels", "sample_weight", "label_smoothing", "ignore_index", "scale",
            "losses", "dlogits", "hits",
        ),
        "row_loss": (
            "name", "predictions", "labels", "sample_weight", "label_smoothing", "ignore_index",
            "params", "scale", "losses", "dpredictions",
        ),
        "elementwise_loss": (
            "name", "y_pred", "y_true", "params", "sample_weight", "label_smoothing", "scale",
            "losses", "dpred",
        ),
        "distribution_loss": (
            "name", "y_pred", "y_true", "params", "sample_weight", "scale", "losses", "dpred",
        ),
        "overlap_loss": (
            "name", "axis", "y_pred", "y_true", "params", "sample_weight", "scale", "losses",
            "dpred",
        ),
        "pair_loss": (
            "name", "predictions", "labels", "sample_weight", "rescaled", "params", "scale",
            "losses", "dpredictions",
        ),
    },
    "metrics": {
        "score": ("name", "predictions", "labels", "params", "scores"),
        "tally": ("name", "predictions", "labels", "sample_weight", "options", "state"),
    },
    "optimizers": {
        f"{row.name}_update": (
            "param", "grad", *row.slots, *(("step",) if row.counts else ()), "learning_rate",
            *(name for name, _ in row.params),
        )
        for row in OPTIMIZERS.values()
    },
    "random": {
        "dropout_mask": ("rate", "seed", "stream", "step", "out"),
    },
    "executor": {
        "Executor": ("plan", "parameters", "slots", "seed"),
    },
}

QUICK = {
    "activations": {
        "quick_activation": ("x", "name", "out"),
        "quick_activation_grad": ("dy", "name", "x", "y", "out"),
    },
    "losses": {
        "quick_softmax_cross_entropy": ("logits", "labels", "reduction", "out"),
    },
    "optimizers": {
        "quick_adam_update": (
            "param", "grad", "m", "v", "step", "learning_rate", "beta_1", "beta_2", "epsilon",
            "weight_decay",
        ),
    },
    "random": {
        "quick_permutation": ("count", "seed", "epoch", "stream"),
        "quick_shuffle": ("count", "generator"),
    },
}
"""Doors that a backend may have for the usual case: they take what a person passes to the function
of that name in `fusedmlp.ops`, recognise arguments that need no conversion, check them, allocate,
and return what that function returns (True for an update in place).  For all others, wrong ones
included, they return None before anything is written, and `fusedmlp.ops` goes its own way."""
