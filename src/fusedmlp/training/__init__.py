"""Training, evaluation and prediction: what runs the plans of a model."""
