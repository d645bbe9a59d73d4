"""The adjoint of a step in Python: a step in Python."""

from __future__ import annotations


def python(builder, op, gradients, needed):
    """What the step's own `gradient` makes of dy, x and y."""
    attributes = op.attributes
    reads, step = attributes["reads"], attributes["gradient"]
    if step is None:
        raise ValueError(
            f"{attributes['name']!r} is computed in Python and says nothing of its gradient, which "
            "something that is to be trained needs. Define its `backward` (see "
            "fusedmlp.layers.Layer), or set `trainable = False` for what comes before it and is in "
            "it"
        )
    inputs, parameters = op.inputs[:reads], op.inputs[reads:]
    dys = [gradients.get(i) for i in op.outputs]
    given = [dy is not None for dy in dys]
    wanted = [x in needed for x in inputs]
    dxs = [builder._gradient_like(x) for x, asked in zip(inputs, wanted, strict=True) if asked]
    trained = [p for p in parameters if p in builder._trainable]
    dparameters = [builder._gradient_like(p) for p in trained]
    places = [parameters.index(p) for p in trained]
    counts = (len(dys) - given.count(False), len(inputs), len(op.outputs))

    def backward(arrays, results):
        found, at = iter(arrays[: counts[0]]), counts[0]
        xs, ys = arrays[at : at + counts[1]], arrays[at + counts[1] :]
        made, more = iter(results[: len(dxs)]), results[len(dxs) :]
        step(tuple(next(found) if there else None for there in given), xs, ys,
             tuple(next(made) if asked else None for asked in wanted),
             dict(zip(places, more, strict=True)))

    given_dys = [dy for dy in dys if dy is not None]
    read = (*given_dys, *inputs, *op.outputs)
    builder._emit("python", read, (*dxs, *dparameters), "backward", function=backward,
                  gradient=None, name=attributes["name"], reads=len(read))
    builder._kept.update(given_dys)
    made = iter(dxs)
    for x, asked in zip(inputs, wanted, strict=True):
        if asked:
            builder._accumulate(gradients, x, next(made))
