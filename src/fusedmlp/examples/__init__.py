"""Programs to run and to read: ``python -m fusedmlp.examples.digits``.

`mnist_style`, `autoencoder`, `imbalanced`, `regression`, `several` (inputs and outputs) and
`wide_and_deep` are what users of Keras write; with ``import keras`` in the place of
``import fusedmlp as keras`` they are programs of Keras.
"""
