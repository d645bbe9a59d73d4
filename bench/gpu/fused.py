"""fusedmlp on the GPU, as a user calls it, with data that lies there."""

from __future__ import annotations

import numpy as np

import fusedmlp

from ..peers import keras_like
from ..peers.fused import settings

__all__ = ["DISTRIBUTIONS", "NAME", "Trainer", "predictor", "settings"]

NAME = "fusedmlp"
DISTRIBUTIONS = ("fusedmlp",)


class Trainer(keras_like.Trainer):
    """`keras_like.Trainer` with its data on the device."""

    keras = fusedmlp

    def __init__(self, work, x, y, layers):
        from fusedmlp.kernels.cuda.device import cuda

        super().__init__(work, cuda.to_device(x), cuda.to_device(y), layers)

    def train(self, shuffle):
        with fusedmlp.device("gpu"):
            return super().train(shuffle)


def predictor(work, layers):
    """A function of rows on the device; what it returns is there, too, and must be fetched."""
    model = keras_like.network(fusedmlp, work, layers, keras_like.output_activation(work))

    def predict(x):
        with fusedmlp.device("gpu"):
            return model.predict(x, batch_size=1 << 16, verbose=0)

    return predict


def there(x):
    """A copy on the device."""
    from fusedmlp.kernels.cuda.device import cuda

    return cuda.to_device(np.ascontiguousarray(x))


def here(y):
    """A copy on the processor."""
    return y.copy_to_host() if hasattr(y, "copy_to_host") else np.asarray(y)
