"""Programs to run and to read; ``python -m fusedmlp.examples`` lists them.

`digits` shows what the library is for.  The programs of the textbook take one subject each, from a
single neuron to the hidden layers of a network, print its numbers and draw its picture.
Those at the end are what users of Keras write; with ``import keras`` in the place of
``import fusedmlp as keras`` they are programs of Keras.
"""

CHAPTERS = {
    "What the library is for": ("digits",),
    "Neurons and networks": (
        "neuron", "two_two_one", "matrix_form", "forward_by_hand", "activations", "dying_relu"),
    "Single layers, and what they cannot do": (
        "perceptron", "adaline", "linear_regression", "logistic_regression",
        "support_vector_machine", "softmax_regression", "xor"),
    "Learning": (
        "losses", "backprop", "backprop_matrices", "deep_chain", "epochs_and_batches",
        "twenty_lines"),
    "Reading a network": ("car_buyers", "representation"),
    "As users of Keras write": (
        "mnist_style", "autoencoder", "imbalanced", "regression", "several", "wide_and_deep",
        "structured"),
}
"""The programs by subject, in the order in which a course takes them."""
