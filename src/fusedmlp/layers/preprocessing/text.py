"""The layer that makes numbers of texts: cleaned, split into words, looked up."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import checks
from ..lambda_layer import FUNCTIONS
from .base import MODES, HostLayer, adapted_batches, one_of_modes, refuse_sparse, values
from .lookup import StringLookup

__all__ = ["TextVectorization"]

# What TensorFlow's string operations heed, which Keras uses, is ASCII.
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_STRIP = str.maketrans("", "", string.punctuation)
_STANDARDS = {"lower_and_strip_punctuation": {**_LOWER, **_STRIP}, "lower": _LOWER,
              "strip_punctuation": _STRIP}
_WORDS = re.compile(r"[^ \t\n\v\f\r]+")
_SPLITS: dict[str, Callable[[str], Sequence[str]]] = {
    "whitespace": _WORDS.findall, "character": list}
_OUTPUTS = ("int", *MODES[2:], "tf_idf")


class TextVectorization(HostLayer):
    """Texts as numbers of their words, or as vectors of what words are in them.

    A text is cleaned (`standardize`), split into words, these are joined to n-grams where that is
    asked for, and looked up in a vocabulary, which is given or found in data.  The number 0 stands
    for nothing and 1 for words that the vocabulary does not have; vectors begin with the latter.

    Parameters
    ----------
    max_tokens : int, optional
        Most tokens of the vocabulary, special ones included.
    standardize : {"lower_and_strip_punctuation", "lower", "strip_punctuation"}, callable or None
        Lower case and punctuation are those of ASCII; a function gets an array of str and returns
        one of its shape (``numpy.char.lower`` knows all letters).
    split : {"whitespace", "character"}, callable or None
        A function gets an array of str, of shape (texts,), and returns a list of words for each.
    ngrams : int or tuple of int, optional
        Lengths of the sequences of words that are tokens, joined by spaces; an integer stands for
        all from 1 to it.
    output_mode : {"int", "multi_hot", "count", "tf_idf"}
        A number for each token; or vectors that say what is in a text, how often, or how often
        times ``log(1 + texts / (1 + texts that have the token))``.
    output_sequence_length : int, optional
        To which rows of numbers are cut or filled up with 0, with "int"; without it, the longest of
        a call.  Within a model it must be given.
    pad_to_max_tokens : bool
        Whether vectors have the length `max_tokens` whatever the vocabulary.
    vocabulary : array_like, str or Path, optional
        Tokens, or the name of a text file with one in each line.
    idf_weights : array_like, optional
        What each token counts, for "tf_idf".
    sparse, ragged : bool
        Must be False: rows are filled up.
    encoding : str
        Of bytes.
    name : str, optional
    **kwargs
        As `Layer` takes them.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these; when called, unless on texts of shape (rows,) or (rows, 1),
        or, with ``split=None``, on an array of words.

    References
    ----------
    Keras 3, keras.layers.TextVectorization.

    Examples
    --------
    >>> layer = TextVectorization(output_sequence_length=4)
    >>> layer.adapt(["foo bar", "bar baz", "baz bada boom"])
    >>> layer([["Foo qux, bar!"], ["qux baz"]])
    array([[4, 1, 3, 0],
           [1, 2, 0, 0]])
    >>> bag = TextVectorization(output_mode="count", vocabulary=["earth", "wind", "fire"])
    >>> bag(["Earth, wind, and wind"])
    array([[1., 1., 2., 0.]], dtype=float32)
    """

    def __init__(self, max_tokens: int | None = None, standardize="lower_and_strip_punctuation",
                 split="whitespace", ngrams: int | tuple[int, ...] | None = None,
                 output_mode: str = "int", output_sequence_length: int | None = None,
                 pad_to_max_tokens: bool = False, vocabulary=None, idf_weights=None,
                 sparse: bool = False, ragged: bool = False, encoding: str = "utf-8",
                 name: str | None = None, **kwargs):
        lookup = {key: kwargs.pop(key) for key in ("has_input_vocabulary", "vocabulary_size")
                  if key in kwargs}
        super().__init__(name=name, **kwargs)
        self._standardize = _step(standardize, "standardize", _STANDARDS)
        self._split = _step(split, "split", _SPLITS)
        self._ngrams = _lengths(ngrams)
        self._output_mode = one_of_modes(output_mode, _OUTPUTS)
        refuse_sparse(sparse)
        if ragged:
            raise ValueError(
                "Argument `ragged` must be False: rows of numbers are filled up with 0, to "
                f"`output_sequence_length` where it is given. Received: ragged={ragged!r}"
            )
        if output_sequence_length is not None:
            if self._output_mode != "int":
                raise ValueError(
                    "Argument `output_sequence_length` goes with output_mode='int' alone. "
                    f"Received: output_sequence_length={output_sequence_length!r} with "
                    f"output_mode={output_mode!r}"
                )
            checks.integer(output_sequence_length, "output_sequence_length", 1)
        self._output_sequence_length = output_sequence_length
        self._encoding = encoding
        self._lookup_layer = StringLookup(
            max_tokens=max_tokens, mask_token="", vocabulary=vocabulary, idf_weights=idf_weights,
            output_mode=self._output_mode, pad_to_max_tokens=pad_to_max_tokens, encoding=encoding,
            **lookup)

    # -- vocabulary ----------------------------------------------------------------------------

    @property
    def _adaptable(self):
        return self._lookup_layer._adaptable

    def adapt(self, data, batch_size: int | None = None, steps: int | None = None) -> None:
        """Find the vocabulary: the most frequent tokens first, of equally frequent ones the last
        in their order.

        Parameters
        ----------
        data : array_like or batches
            Texts.
        batch_size : optional
            Not heeded.
        steps : int, optional
            Most batches to look at.

        Raises
        ------
        ValueError, TypeError
            If the vocabulary was given, or the data is empty or holds no texts.
        """
        self._lookup_layer._require_adaptable()
        self.reset_state()
        for batch in adapted_batches(data, steps, self._encoding):
            self.update_state(batch.reshape(-1, 1) if batch.ndim == 1 else batch)
        self.finalize_state()

    def update_state(self, data) -> None:
        """Count the tokens of a batch of texts, for `finalize_state` to make a vocabulary of.

        Parameters
        ----------
        data : array_like

        Raises
        ------
        ValueError, TypeError
            If the vocabulary was given, or the data holds no texts.
        """
        self._lookup_layer.update_state(self._tokens(data, "data"))

    def finalize_state(self) -> None:
        """Make what `update_state` has counted the vocabulary, in place of what was known."""
        self._lookup_layer.finalize_state()

    def reset_state(self) -> None:
        """Forget what `update_state` has counted; the vocabulary stays."""
        self._lookup_layer.reset_state()

    def set_vocabulary(self, vocabulary, idf_weights=None) -> None:
        """Set the vocabulary, in place of what was known.

        Parameters
        ----------
        vocabulary : array_like, str or Path
            Without special tokens, or with all of them in front; or the name of a text file with a
            token in each line.
        idf_weights : array_like, optional
            What a token counts, for ``output_mode="tf_idf"``.

        Raises
        ------
        ValueError, TypeError
            As `StringLookup.set_vocabulary`.
        """
        self._lookup_layer.set_vocabulary(vocabulary, idf_weights)

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """The tokens in the order of their numbers.

        Parameters
        ----------
        include_special_tokens : bool
            Whether to begin with "" and "[UNK]" (with vectors, with the latter).
        """
        return self._lookup_layer.get_vocabulary(include_special_tokens)

    def vocabulary_size(self) -> int:
        """Number of tokens, with the special ones."""
        return self._lookup_layer.vocabulary_size()

    # -- texts ---------------------------------------------------------------------------------

    def _tokens(self, inputs, name="inputs"):
        """Tokens of texts, of shape (..., tokens); shorter rows are filled up with ""."""
        texts = values(inputs, name, self._encoding)
        if texts.size and texts.dtype != object:
            raise TypeError(
                f"Argument `{name}` of {self.name!r} must hold texts. Received: {texts.dtype}"
            )
        if callable(self._standardize):
            shape = texts.shape
            texts = values(self._standardize(texts.astype(str)), "standardize", self._encoding)
            if texts.shape != shape:
                raise ValueError(
                    f"Argument `standardize` of {self.name!r} must return an array of the shape "
                    f"that it gets, {shape}. Received: shape {texts.shape}"
                )
        elif self._standardize is not None:
            table = _STANDARDS[self._standardize]
            texts = _objects((text.translate(table) for text in texts.reshape(-1)), texts.shape)
        if self._split is None:
            if self._ngrams is None or not texts.ndim:
                return texts
            shape, rows = texts.shape[:-1], texts.reshape(-1, texts.shape[-1]).tolist()
        else:
            if texts.ndim > 1 and texts.shape[-1] != 1:
                raise ValueError(
                    f"Argument `{name}` of {self.name!r} must have the shape (rows,) or (rows, 1). "
                    f"Received: shape {texts.shape}"
                )
            shape = texts.shape[:-1] if texts.ndim > 1 else texts.shape
            if callable(self._split):
                rows = [[str(word) for word in row]
                        for row in self._split(texts.reshape(-1).astype(str))]
                if len(rows) != texts.size:
                    raise ValueError(
                        f"Argument `split` of {self.name!r} must return a list of words for each "
                        f"of {texts.size} texts. Received: {len(rows)} lists"
                    )
            else:
                rows = list(map(_SPLITS[self._split], texts.reshape(-1)))
        if self._ngrams is not None:
            rows = [_joined(row, self._ngrams) for row in rows]
        return _filled(rows).reshape(*shape, -1) if rows else np.empty((*shape, 0), object)

    def transform(self, inputs):
        tokens = self._tokens(inputs)
        if self._output_mode != "int":
            if tokens.ndim and not tokens.shape[-1]:  # no word in any text
                tokens = np.full((*tokens.shape[:-1], 1), "", object)
            return self._lookup_layer.transform(tokens)
        numbers = self._lookup_layer.transform(tokens)
        length = self._output_sequence_length
        if length is None or not numbers.ndim:
            return numbers
        result = np.zeros((*numbers.shape[:-1], length), numbers.dtype)
        kept = min(length, numbers.shape[-1])
        result[..., :kept] = numbers[..., :kept]
        return result

    # -- within a model ------------------------------------------------------------------------

    def build(self, input_shape):
        if self._length(input_shape) is None:
            raise ValueError(
                f"Layer {self.name!r} must be given `output_sequence_length` within a model, where "
                "all rows have one length. Received: output_sequence_length=None"
            )
        if self._split is not None and len(input_shape) > 1 and input_shape[-1] != 1:
            raise ValueError(
                f"The input of {self.name!r} must have the shape (None, 1). "
                f"Received: input shape {tuple(input_shape)}"
            )
        self.built = True

    def _length(self, input_shape):
        """Elements of the last axis; None where that depends on the texts."""
        if self._output_mode != "int":
            return self._lookup_layer._depth()
        if self._output_sequence_length is None and self._split is None and self._ngrams is None:
            return input_shape[-1]
        return self._output_sequence_length

    def compute_output_shape(self, input_shape):
        shape = tuple(input_shape)
        kept = shape[:-1] if len(shape) > 1 else shape
        return (*kept, self._length(shape))

    def get_config(self) -> dict[str, Any]:
        """The vocabulary is part of it, however it came about; of functions their names.

        Raises
        ------
        ValueError
            If a function has no name (`fusedmlp.saving.register_keras_serializable` gives one).
        """
        found = self._lookup_layer.get_config()
        kept = {key: found[key] for key in ("has_input_vocabulary",) if key in found}
        return {**super().get_config(), **kept, "max_tokens": found["max_tokens"],
                "standardize": _described(self._standardize), "split": _described(self._split),
                "ngrams": None if self._ngrams is None else list(self._ngrams),
                "output_mode": self._output_mode,
                "output_sequence_length": self._output_sequence_length,
                "pad_to_max_tokens": found["pad_to_max_tokens"],
                "vocabulary": found["vocabulary"], "idf_weights": found["idf_weights"],
                "encoding": self._encoding}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        for name, known in (("standardize", _STANDARDS), ("split", _SPLITS)):
            given = config.get(name)
            if isinstance(given, str) and given not in known:
                config[name] = FUNCTIONS.find(given)
        if isinstance(config.get("ngrams"), list):
            config["ngrams"] = tuple(config["ngrams"])
        return cls(**config)


def _step(value, name, known):
    if value is not None and not callable(value) and (
            not isinstance(value, str) or value not in known):
        raise ValueError(
            f"Argument `{name}` must be one of {', '.join(map(repr, known))}, a function or None. "
            f"Received: {value!r}"
        )
    return value


def _described(step):
    return FUNCTIONS.serialize(step) if callable(step) else step


def _lengths(ngrams):
    """The lengths that `ngrams` stands for."""
    if ngrams is None:
        return None
    try:
        if isinstance(ngrams, tuple):
            return tuple(checks.integer(n, "ngrams", 1) for n in ngrams)
        return tuple(range(1, checks.integer(ngrams, "ngrams", 1) + 1))
    except (TypeError, ValueError):
        raise ValueError(
            "Argument `ngrams` must be None, a positive integer or a tuple of such. "
            f"Received: {ngrams!r}"
        ) from None


def _joined(words, lengths):
    """The sequences of so many words, joined by spaces.

    >>> _joined(["a", "b", "c"], (1, 2))
    ['a', 'b', 'c', 'a b', 'b c']
    """
    return [" ".join(words[i : i + n]) for n in lengths for i in range(len(words) - n + 1)]


def _objects(items, shape):
    result = np.empty(shape, object)
    result.reshape(-1)[:] = list(items)
    return result


def _filled(rows):
    """Rows of words as a matrix.

    >>> _filled([["a"], ["b", "c"]])
    array([['a', ''],
           ['b', 'c']], dtype=object)
    """
    result = np.full((len(rows), max(map(len, rows))), "", object)
    for place, row in zip(result, rows, strict=True):
        place[: len(row)] = row
    return result
