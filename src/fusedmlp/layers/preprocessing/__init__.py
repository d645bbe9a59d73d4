"""Layers that make numbers of data: scaled, counted, looked up."""

from .categories import CategoryEncoding, Discretization
from .hashing import HashedCrossing, Hashing
from .lookup import IntegerLookup, StringLookup
from .scaling import Normalization, Rescaling
from .text import TextVectorization

__all__ = ["CategoryEncoding", "Discretization", "HashedCrossing", "Hashing", "IntegerLookup",
           "Normalization", "Rescaling", "StringLookup", "TextVectorization"]
