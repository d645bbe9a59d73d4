"""Looking into a model: what it consists of and what it costs."""
