"""A wrapper that keeps the largest singular value of a layer's kernel at 1."""

from __future__ import annotations

from .. import checks, config, initializers
from .layer import Layer
from .wrappers import Wrapper

__all__ = ["SpectralNormalization"]


class SpectralNormalization(Wrapper):
    """Divides a kernel by its largest singular value at the beginning of each training step.

    The singular value is estimated by the power method, whose vector is kept from step to step, so
    the estimate follows the kernel.  Prediction takes the kernel as training left it.

    Parameters
    ----------
    layer : Layer
        With a `kernel` (Dense) or `embeddings` (Embedding).
    power_iterations : int
        In each step.
    **kwargs
        What `Layer` takes.

    Attributes
    ----------
    vector_u : Variable, shape (1, columns of the kernel)
        Not trainable.

    Raises
    ------
    ValueError, TypeError
        If the layer has no kernel, or an argument is none of these.

    References
    ----------
    Miyato et al. (2018), arXiv:1802.05957; Keras 3, keras.layers.SpectralNormalization.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> layer = fm.layers.SpectralNormalization(fm.layers.Dense(3))
    >>> layer.build((None, 4))
    >>> [v.shape for v in layer.weights]
    [(4, 3), (1, 3), (3,)]
    """

    def __init__(self, layer: Layer, power_iterations: int = 1, **kwargs):
        super().__init__(layer, **kwargs)
        self.power_iterations = checks.integer(power_iterations, "power_iterations", 1)

    def build(self, input_shape):
        super().build(input_shape)
        self.vector_u = self.add_weight(
            (1, self.kernel.shape[-1]), initializers.TruncatedNormal(stddev=0.02),
            trainable=False, name="vector_u")

    @property
    def kernel(self):
        """The variable that is normalized; AttributeError before the layer is built."""
        for name in ("kernel", "embeddings"):
            if hasattr(self.layer, name):
                return getattr(self.layer, name)
        raise ValueError(
            "Argument `layer` of SpectralNormalization must be a layer with a `kernel` or "
            f"`embeddings`. Received: {self.layer!r}"
        )

    @property
    def variables(self):
        """The kernel, `vector_u`, and what else the layer has."""
        if not self.built:
            return super().variables
        first = [self.kernel, self.vector_u]
        return first + [v for v in self.layer.variables if v is not first[0]]

    @property
    def differs_in_training(self):
        return True

    def _lowered(self, builder, inputs, mask=None):
        builder.spectral_norm(self.layer.parameter(builder, self.kernel),
                              self.parameter(builder, self.vector_u), self.power_iterations,
                              config.epsilon())
        return super()._lowered(builder, inputs, mask)

    def get_config(self):
        return {**super().get_config(), "power_iterations": self.power_iterations}
