"""Where the last two products of a small network fall into parts that threads keep for themselves.

A thread that has computed some columns of the last hidden layer needs no others for its share of
the outputs' sums, nor for the gradients of these columns and of the weights on both sides of them.
So threads meet once, to add up their shares; from the outputs to the loss each computes everything
for itself, and the weights never leave the processor that updates them.  Megatron-LM (Shoeybi et
al., 2019, section 3) splits layers between GPUs in this way.

The outputs become a sum over parts instead of one product.  What decides about it, and the number
of parts, is therefore a function of the plan alone: the result has the same bits for any number of
threads.
"""

from typing import NamedTuple

#: Parts that the columns of the last hidden layer fall into.
COUNT = 2
#: Multiply-adds of a step's products: fewer are not worth a second thread, more are worth a third,
#: for which there is no part.
FEWEST, MOST = 150e3, 5e6
# Operations on rows of outputs, and of what is made of them, that every thread can do for itself.
_TAIL = frozenset((
    "gather", "activation", "activation_grad", "softmax_cross_entropy", "elementwise_loss",
    "distribution_loss", "row_loss", "score",
))
# What may read the results, or the gathered labels and weights: one thread, or each its part.
_READERS = frozenset(("reduce", "tally", "dense_dw", "dense_db", "penalty", "penalty_grad",
                      "observe"))


class Parts(NamedTuple):
    """The operations that fall into parts."""

    first: object  #: product whose columns are those of the last hidden layer
    second: object  #: product that becomes a sum of parts
    back: object  #: gradient of the last hidden layer
    tail: tuple  #: operations between the last two, which every thread does for itself

    @property
    def private(self):
        """Buffers of which every thread has its own."""
        return {index for op in (self.second, *self.tail) for index in op.outputs}

    def gradients(self, ops):
        """Ids of the gradients of the two products' kernels and biases, among `ops`."""
        made = {*self.private, *self.back.outputs}
        return {id(op) for op in ops
                if op.op in ("dense_dw", "dense_db") and made.intersection(op.inputs)}


def find(plan, ops, late, each, whole, grouped):
    """The operations of a step that fall into parts, or None.

    `ops` are those of a plan in order, the operations on weights, called `late`, behind the others;
    `each` is the number of columns of a panel, and `whole` are ids of operations that must stay
    what they are.  `grouped` says that rows fall into groups, whose gradients are added up: that is
    as good where more than two products follow one another.
    """
    early = [op for op in ops if op.op not in late]
    if not plan.totals or early != ops[:len(early)] or any(op.op == "python" for op in ops):
        return None
    products = [op for op in early if op.op == "dense"]
    if not products:
        return None
    second = products[-1]
    hidden, kernel = second.inputs[:2]
    first = next((op for op in products if op.outputs[0] == hidden), None)
    back = [op for op in early if op.op == "dense_dx" and op.inputs[1] == kernel]
    if first is None or len(back) != 1:
        return None
    if grouped and not any(op.op == "gather" and first.inputs[0] in op.outputs for op in early):
        return None
    back = back[0]
    between = early[early.index(first) + 1:early.index(back)]
    tail = tuple(op for op in between if op.op in _TAIL)
    if any(op.op not in _TAIL and op not in (second, back) and op.op not in ("penalty", "observe")
           for op in between):
        return None
    found = Parts(first, second, back, tail)
    return found if _divisible(plan, ops, found, each) and _separate(plan, ops, found, whole) \
        else None


def _divisible(plan, ops, found, each):
    """Whether shapes and sizes are such that parts are worth it."""
    outputs = plan.buffers[found.second.outputs[0]].columns
    hidden = plan.buffers[found.first.outputs[0]].columns
    products = sum(plan.flops(op) for op in ops if op.op in ("dense", "dense_dx", "dense_dw")) / 2
    return outputs <= each < hidden and FEWEST <= products <= MOST


def _separate(plan, ops, found, whole):
    """Whether nothing else reads what threads keep for themselves."""
    first, second, back, tail = found
    private = found.private
    if any(plan.buffers[index].repeat != 1 or plan.buffers[index].rows is not None
           or plan.buffers[index].role == "sparse" for index in (*private, *first.outputs)):
        return False
    chain = (first, second, back, *tail)
    for op in ops:
        if id(op) in whole and (op in chain or set(op.inputs) & {*first.outputs, *back.outputs}):
            return False
        if op.op in _READERS:
            continue
        reads = set(op.inputs)
        if op not in chain and reads & {*private, *first.outputs}:
            return False
        if op in tail and not reads <= private:
            return False
        if second.inputs[1] in reads and op not in (second, back):
            return False
        if first.inputs[1] in reads and op is not first and op.op != "dense_dx":
            return False
    return back.inputs[0] in private
