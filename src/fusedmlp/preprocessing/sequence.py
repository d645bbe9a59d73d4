"""Sequences of several lengths: `pad_sequences`, which is that of `fusedmlp.utils`.

>>> pad_sequences([[1], [2, 3]], padding="post")
array([[1, 0],
       [2, 3]], dtype=int32)
"""

from ..utils import pad_sequences

__all__ = ["pad_sequences"]
