"""Penalties on weights and activations, and the constraints that weights are projected to."""

from __future__ import annotations

from .backward import Backward


class Penalties(Backward):
    """The part of a builder for regularizers and constraints."""

    def penalty(self, parameter, *, l1=0.0, l2=0.0, per_rows=False, sample_weight=None):
        """Add ``l1 sum |w| + l2 sum w^2`` of a parameter to the loss; nothing in a prediction.

        Parameters
        ----------
        parameter : int
            Buffer of a parameter.
        l1, l2 : float
        per_rows : bool
            Whether the penalty is divided by the number of rows of each batch, as scikit-learn
            does it.
        sample_weight : int, optional
            Buffer of weights whose sum takes the place of that number.
        """
        inputs = (parameter,) if sample_weight is None else (parameter, sample_weight)
        if l1 or l2:
            self._penalize_once("penalty", inputs, l1=float(l1), l2=float(l2),
                                per_rows=bool(per_rows))

    def _penalize_once(self, *entry, **attributes):
        entry = (*entry, attributes)
        if entry not in self._penalties:  # a shared layer is lowered more than once
            self._penalties.append(entry)

    def orthogonal_penalty(self, parameter, factor, mode="rows"):
        """Add `factor` times the mean absolute cosine between the rows (or columns) to the loss."""
        vectors = self.buffers[parameter].rows if mode == "rows" else self.columns(parameter)
        if factor and vectors > 1:
            self._penalize_once("orthogonal_penalty", (parameter,), factor=float(factor), mode=mode)

    def activity_penalty(self, y, *, linear=0.0, l1=0.0, l2=0.0):
        """Add ``linear sum y + l1 sum |y| + l2 sum y^2``, the mean over the batch, to the loss."""
        if linear or l1 or l2:
            y = self._views.get(y, y)
            self._activities.append((y, {"linear": float(linear), "l1": float(l1),
                                         "l2": float(l2)}))

    @property
    def adds_losses(self):
        """"nothing", "means" over the rows of a batch, or what depends on the whole "by batch"."""
        if not self._activities:
            return "nothing"
        return "by batch" if self._of_batches else "means"

    @property
    def added_losses(self):
        """The penalties on activations so far: (buffer, factors)."""
        return list(self._activities)

    def depends_on_batches(self, does=True):
        """Say whether the latest penalty is a number that a whole batch makes."""
        self._of_batches |= does

    def first_time(self, *what):
        """Whether it is the first time that this is asked of the builder."""
        if what in self._told:
            return False
        self._told.add(what)
        return True


    def constrain(self, parameter, kind, *, low=0.0, high=1.0, rate=1.0, epsilon=0.0, axis=0):
        """Project a parameter after each of its updates; see the table of ops.

        Parameters
        ----------
        parameter : int
        kind : {"norm", "non_negative"}
        low, high, rate, epsilon : float
            A norm goes the part `rate` of its way into [low, high].
        axis : {0, 1, None}
            Norms of columns, of rows, of the whole.
        """
        entry = (parameter, {"kind": kind, "low": float(low), "high": float(high),
                             "rate": float(rate), "epsilon": float(epsilon), "axis": axis})
        if parameter in self._trainable and entry not in self._constraints:
            self._constraints.append(entry)

    def drop_penalties(self):
        """Forget what has been added to the loss so far."""
        self._activities, self._penalties = [], []

    def penalize_activities(self, training):
        """Add the penalties on activations to the total of the loss, behind losses."""
        for y, attributes in self._activities:
            rows = self._new("penalties", 1, "row", repeat=self.buffers[y].repeat)
            outputs = [rows]
            if training:
                outputs.append(self._gradient_like(y))
                self._loss_ops.append(len(self.ops))
            self._emit("activity_penalty", (y,), outputs, "loss", **attributes)
            self.reduce("loss", rows, weight=self.buffers[rows].repeat)
        self._activities = []

    def _penalize(self, training):
        """Add the penalties to the total of the loss, before anything is fused."""
        self.penalize_activities(training)
        total = self.totals.index("loss")
        for op, inputs, attributes in self._penalties:
            if op == "penalty":
                self._emit(op, inputs, (), "loss", total=total, **attributes)
            elif not (training and inputs[0] in self._trainable):
                self._emit(op, inputs, (), "loss", total=total, adds=False, **attributes)

    def _penalize_gradients(self):
        """Add the derivatives of the penalties to the gradients of what training updates."""
        for op, inputs, attributes in self._penalties:
            parameter = inputs[0]
            if parameter in self._trainable:
                adds = parameter in self._graded
                gradient = self._graded[parameter] if adds else self._gradient_like(parameter)
                if op == "penalty":
                    op = "penalty_grad"
                else:
                    attributes = {"total": self.totals.index("loss"), **attributes}
                self._emit(op, inputs, (gradient,), "backward", adds=adds, **attributes)

    def project(self):
        """Append the projections of constrained parameters, behind all that moves them."""
        for parameter, attributes in self._constraints:
            self._emit("constrain", (parameter,), (), "update", **attributes)
