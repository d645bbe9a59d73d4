"""Programs to run and to read: ``python -m fusedmlp.examples.digits``."""
