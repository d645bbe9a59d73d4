"""Keras's older names of what makes data sets: the same as in `fusedmlp.utils`.

>>> from fusedmlp.preprocessing import sequence
>>> sequence.pad_sequences([[1], [2, 3]])
array([[0, 1],
       [2, 3]], dtype=int32)
"""

from ..training.array_datasets import text_dataset_from_directory, timeseries_dataset_from_array
from . import sequence

__all__ = ["sequence", "text_dataset_from_directory", "timeseries_dataset_from_array"]
