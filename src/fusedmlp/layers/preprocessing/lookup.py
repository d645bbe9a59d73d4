"""Layers that number words or integers by a vocabulary: `StringLookup` and `IntegerLookup`."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ... import checks, config
from .base import (
    MODES,
    HostLayer,
    adapted_batches,
    encode,
    encoded_shape,
    one_of_modes,
    refuse_sparse,
    values,
)
from .hashing import buckets, salt_key

__all__ = ["IntegerLookup", "StringLookup"]


class IndexLookup(HostLayer):
    """What both lookups share.

    Numbers are given in this order: 0 for the mask where there is one and the output is "int",
    then one for each bucket of what the vocabulary does not have, then the vocabulary.
    """

    _kind = "words"
    encoding = "utf-8"  # of words that come as bytes

    def __init__(self, max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, idf_weights,
                 invert, output_mode, sparse, pad_to_max_tokens, oov_method, salt, **kwargs):
        self._static = bool(kwargs.pop("has_input_vocabulary", vocabulary is not None))
        kwargs.pop("vocabulary_size", None)  # of Keras's configs
        super().__init__(**kwargs)
        self.max_tokens = None if max_tokens is None else checks.integer(
            max_tokens, "max_tokens", 2)
        self.num_oov_indices = checks.integer(num_oov_indices, "num_oov_indices", 0)
        self.output_mode = one_of_modes(output_mode, (*MODES, "tf_idf"))
        self.mask_token, self.oov_token, self.invert = mask_token, oov_token, bool(invert)
        refuse_sparse(sparse)
        self.sparse, self.pad_to_max_tokens = False, bool(pad_to_max_tokens)
        checks.one_of(oov_method, "oov_method", ("floormod", "farmhash"))
        self.oov_method, self.salt = oov_method, salt_key(salt)
        for bad, message in (
            (self.pad_to_max_tokens and self.max_tokens is None,
             "Argument `pad_to_max_tokens` needs `max_tokens`. Received: max_tokens=None"),
            (self.invert and self.output_mode != "int",
             "Argument `invert` goes with output_mode='int' alone. "
             f"Received: output_mode={output_mode!r}"),
            (idf_weights is not None and self.output_mode != "tf_idf",
             "Argument `idf_weights` goes with output_mode='tf_idf' alone. "
             f"Received: output_mode={output_mode!r}"),
            (vocabulary is not None and idf_weights is None and self.output_mode == "tf_idf",
             "Argument `idf_weights` must be given beside `vocabulary` for output_mode='tf_idf'. "
             "Received: None"),
        ):
            if bad:
                raise ValueError(message)
        self._tokens: list | None = None
        self._numbers: dict = {}
        self._idf: np.ndarray | None = None
        self.reset_state()
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)

    # -- vocabulary ----------------------------------------------------------------------------

    @property
    def _oov_start(self):
        return int(self.mask_token is not None and self.output_mode == "int")

    @property
    def _token_start(self):
        return self._oov_start + self.num_oov_indices

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
            If tokens are repeated, none are given, or more than `max_tokens`; or weights are
            missing or not as many.
        """
        if isinstance(vocabulary, (str, Path)):
            vocabulary = Path(vocabulary).read_text(self.encoding).splitlines()
        tokens = []
        if np.size(vocabulary):
            tokens = self._as_tokens(values(vocabulary, "vocabulary", self.encoding),
                                     "vocabulary").tolist()
        special = [self.mask_token] * self._oov_start + [self.oov_token] * self.num_oov_indices
        found_special = bool(special) and tokens[: len(special)] == special
        own = tokens[len(special) :] if found_special else tokens
        if not own:
            raise ValueError(
                f"Argument `vocabulary` must hold at least one token. Received: {vocabulary!r}"
            )
        repeated = [token for token, count in Counter(own).items() if count > 1]
        if repeated:
            raise ValueError(
                "Argument `vocabulary` must hold each token once. "
                f"Received: several times {', '.join(map(repr, repeated[:5]))}"
            )
        reserved = [self.mask_token, *([self.oov_token] if self.invert else [])]
        for token in reserved:
            if token is not None and token in own:
                raise ValueError(
                    "Argument `vocabulary` must hold special tokens not at all, or all in front, "
                    f"as {special}. Received: {token!r} at {tokens.index(token)}"
                )
        if self.max_tokens is not None and self._token_start + len(own) > self.max_tokens:
            raise ValueError(
                f"Argument `vocabulary` must hold at most {self.max_tokens - self._token_start} "
                f"tokens with max_tokens={self.max_tokens}. Received: {len(own)}"
            )
        weights = None
        if self.output_mode == "tf_idf":
            weights = self._weights_for(tokens, idf_weights, found_special)
        elif idf_weights is not None:
            raise ValueError(
                "Argument `idf_weights` goes with output_mode='tf_idf' alone. "
                f"Received: output_mode={self.output_mode!r}"
            )
        self._learn(own, weights)

    def _weights_for(self, tokens, idf_weights, found_special):
        if idf_weights is None:
            raise ValueError(
                "Argument `idf_weights` must be given for output_mode='tf_idf'. Received: None"
            )
        weights = checks.float_like(idf_weights, "idf_weights", np.dtype(np.float64))
        if weights.shape != (len(tokens),):
            raise ValueError(
                f"Argument `idf_weights` must have the length of the vocabulary, {len(tokens)}. "
                f"Received: shape {weights.shape}"
            )
        return weights if found_special else self._in_front(weights)

    def _in_front(self, weights):
        """Weights with the mean for tokens that the vocabulary does not have."""
        return np.concatenate([np.full(self._token_start, weights.mean()), weights])

    def _learn(self, tokens, weights):
        self._tokens = tokens
        self._numbers = {token: i for i, token in enumerate(tokens, self._token_start)}
        if weights is not None and self.pad_to_max_tokens:
            weights = np.pad(weights, (0, self.max_tokens - len(weights)))
        self._idf = weights

    def get_vocabulary(self, include_special_tokens: bool = True) -> list:
        """The tokens in the order of their numbers.

        Parameters
        ----------
        include_special_tokens : bool
            Whether to begin with the mask and what stands for others.
        """
        own = list(self._tokens or [])
        if not include_special_tokens:
            return own
        return ([self.mask_token] * self._oov_start + [self.oov_token] * self.num_oov_indices
                + own)

    def vocabulary_size(self) -> int:
        """Number of tokens, with the special ones."""
        return self._token_start + len(self._tokens or [])

    def adapt(self, data, steps: int | None = None) -> None:
        """Find the vocabulary: the most frequent tokens first, of equally frequent ones the last
        in their order.

        Parameters
        ----------
        data : array_like or batches
        steps : int, optional
            Most batches to look at.

        Raises
        ------
        ValueError, TypeError
            If the vocabulary was given, or the data is empty or of another kind.
        """
        self._require_adaptable()
        self.reset_state()
        for batch in adapted_batches(data, steps, self.encoding):
            self.update_state(batch)
        self.finalize_state()

    @property
    def _adaptable(self):
        return not self._static

    def _require_adaptable(self):
        if self._static:
            raise ValueError(
                f"Layer {self.name!r} was given its vocabulary, so it can't be adapted"
            )

    def reset_state(self) -> None:
        """Forget what `update_state` has counted; the vocabulary stays."""
        self._counts: Counter = Counter()
        self._rows: Counter = Counter()  # in how many rows a token is
        self._documents = 0

    def update_state(self, data) -> None:
        """Count the tokens of a batch, for `finalize_state` to make a vocabulary of.

        Parameters
        ----------
        data : array_like

        Raises
        ------
        ValueError, TypeError
            If the vocabulary was given, or the data is of another kind.
        """
        self._require_adaptable()
        batch = self._as_tokens(values(data, "data", self.encoding), "data")
        self._counts.update(batch.reshape(-1).tolist())
        if self.output_mode == "tf_idf" and batch.size:
            for row in batch.reshape(len(batch), -1):
                self._rows.update(set(row.tolist()))
            self._documents += len(batch)

    def finalize_state(self) -> None:
        """Make what `update_state` has counted the vocabulary, in place of what was known."""
        counts, rows = self._counts, self._rows
        if not counts:
            return
        for special in (self.mask_token, self.oov_token):
            counts.pop(special, None)
        tokens = sorted(counts, key=lambda token: (counts[token], token), reverse=True)
        if self.max_tokens is not None:
            tokens = tokens[: self.max_tokens - self._token_start]
        weights = None
        if self.output_mode == "tf_idf":
            weights = self._in_front(np.array(
                [math.log(1 + self._documents / (1 + rows[token])) for token in tokens]))
        self._learn(tokens, weights)
        self.reset_state()

    # -- lookups -------------------------------------------------------------------------------

    def _as_tokens(self, array, name):
        """The array as tokens of this layer's kind."""
        raise NotImplementedError

    def _require_vocabulary(self):
        if self._tokens is None:
            raise RuntimeError(
                f"Layer {self.name!r} has no vocabulary yet: give it `vocabulary`, or call "
                "`adapt(data)`"
            )

    def transform(self, inputs):
        self._require_vocabulary()
        array = values(inputs, "inputs", self.encoding)
        if self.invert:
            return self._inverted(array)
        array = self._as_tokens(array, "inputs")
        flat = array.reshape(-1)
        numbers = np.fromiter((self._numbers.get(token, -1) for token in flat.tolist()), np.int64,
                              len(flat))
        missing = numbers < 0
        if missing.any():
            self._place_missing(numbers, missing, flat)
        if self.mask_token is not None:
            numbers[flat == self.mask_token] = 0 if self.output_mode == "int" else -1
        numbers = numbers.reshape(array.shape)
        if self.output_mode == "int":
            return numbers
        mode = "count" if self.output_mode == "tf_idf" else self.output_mode
        result = encode(numbers, mode, self._depth(), config.floatx())
        return result if self._idf is None else result * self._idf.astype(result.dtype)

    def _place_missing(self, numbers, missing, flat):
        if self.num_oov_indices == 0:
            known = flat[missing] != self.mask_token
            if known.any():
                raise ValueError(
                    f"Argument `inputs` of {self.name!r} must hold tokens of its vocabulary alone, "
                    f"because num_oov_indices=0. Received: {flat[missing][known][0]!r}"
                )
            return
        bucket = 0
        if self.num_oov_indices > 1:
            bucket = self._buckets(flat[missing])
        numbers[missing] = self._oov_start + bucket

    def _buckets(self, tokens):
        return buckets(tokens, self.num_oov_indices, self.salt)

    def _inverted(self, array):
        numbers = checks.real_array(array, "inputs").astype(np.int64) - self._token_start
        tokens = np.empty(len(self._tokens) + 1, object)
        tokens[:] = [*self._tokens, self.oov_token]
        inside = (numbers >= 0) & (numbers < len(self._tokens))
        result = tokens[np.where(inside, numbers, len(self._tokens))]
        if self.mask_token is not None:
            result = np.where(numbers == -self._token_start, np.array(self.mask_token, object),
                              result)
        return result

    def _depth(self):
        return self.max_tokens if self.pad_to_max_tokens else self.vocabulary_size()

    def compute_output_shape(self, input_shape):
        return encoded_shape(input_shape, self.output_mode, self._depth())

    def get_config(self) -> dict[str, Any]:
        """The vocabulary is part of it, however it came about."""
        tokens, weights = self._tokens, self._idf
        if tokens is not None and weights is not None:
            tokens, weights = self.get_vocabulary(), weights[: self.vocabulary_size()].tolist()
        result = super().get_config()
        if tokens is not None and not self._static:
            result["has_input_vocabulary"] = False  # so that it can be adapted again
        return {**result, "max_tokens": self.max_tokens, "num_oov_indices": self.num_oov_indices,
                "mask_token": self.mask_token, "oov_token": self.oov_token, "vocabulary": tokens,
                "idf_weights": weights, "invert": self.invert, "output_mode": self.output_mode,
                "pad_to_max_tokens": self.pad_to_max_tokens,
                "salt": None if self.salt is None else list(self.salt)}


class StringLookup(IndexLookup):
    """Numbers words by a vocabulary, which is given or found in data.

    Parameters
    ----------
    max_tokens : int, optional
        Most tokens, special ones included.
    num_oov_indices : int
        Numbers for words that the vocabulary does not have, which are shared out by a hash; with 0
        such a word is an error.
    mask_token : str, optional
        Word that stands for nothing: 0 for "int", nowhere in vectors.
    oov_token : str
        What stands for words without a number, with `invert`.
    vocabulary : array_like, str or Path, optional
        Words, or the name of a text file with one in each line.
    idf_weights : array_like, optional
        What each word counts, for "tf_idf".
    invert : bool
        Whether to turn numbers into words.
    output_mode : {"int", "one_hot", "multi_hot", "count", "tf_idf"}
        The number, or vectors as `CategoryEncoding` makes them; "tf_idf" are counts times
        ``log(1 + rows / (1 + rows that have the word))``.
    pad_to_max_tokens : bool
        Whether vectors have the length `max_tokens` whatever the vocabulary.
    sparse : bool
        Must be False.
    encoding : str
        Of bytes.
    name : str, optional
    salt : int or pair of int, optional
        Key of another hash (SipHash-2-4) for words without a number.
    **kwargs
        As `Layer` takes them.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    References
    ----------
    Keras 3, keras.layers.StringLookup.

    Examples
    --------
    >>> layer = StringLookup()
    >>> layer.adapt(["red", "blue", "red"])
    >>> layer.get_vocabulary()
    ['[UNK]', 'red', 'blue']
    >>> layer([["blue"], ["green"]])
    array([[2],
           [0]])
    """

    def __init__(self, max_tokens: int | None = None, num_oov_indices: int = 1, mask_token=None,
                 oov_token="[UNK]", vocabulary=None, idf_weights=None, invert: bool = False,
                 output_mode: str = "int", pad_to_max_tokens: bool = False, sparse: bool = False,
                 encoding: str = "utf-8", name: str | None = None, salt=None, **kwargs):
        self.encoding = encoding
        super().__init__(max_tokens, num_oov_indices, mask_token, oov_token, vocabulary,
                         idf_weights, invert, output_mode, sparse, pad_to_max_tokens, "floormod",
                         salt, name=name, **kwargs)

    def _as_tokens(self, array, name):
        if array.dtype != object:
            array = np.char.mod("%d", array.astype(np.int64)).astype(object) \
                if array.dtype.kind in "iub" else array
        if array.dtype != object:
            raise TypeError(
                f"Argument `{name}` of {self.name!r} must hold words. "
                f"Received: dtype {array.dtype}"
            )
        return array

    def get_config(self):
        return {**super().get_config(), "encoding": self.encoding}


class IntegerLookup(IndexLookup):
    """Numbers integers by a vocabulary, which is given or found in data.

    Parameters
    ----------
    max_tokens, num_oov_indices, vocabulary, idf_weights, invert, output_mode, sparse, \
pad_to_max_tokens, name, **kwargs
        As in `StringLookup`.
    mask_token : int, optional
    oov_token : int
    vocabulary_dtype : {"int64"}
    oov_method : {"floormod", "farmhash"}
        How integers without a number are shared out among `num_oov_indices`: by the remainder, or
        by a hash.
    salt : int or pair of int, optional
        Key of the hash.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    References
    ----------
    Keras 3, keras.layers.IntegerLookup.

    Examples
    --------
    >>> layer = IntegerLookup(vocabulary=[12, 36, 1138], output_mode="count")
    >>> layer(np.array([[12, 1138, 1138], [42, 7, 36]]))
    array([[0., 1., 0., 2.],
           [2., 0., 1., 0.]], dtype=float32)
    """

    _kind = "integers"

    def __init__(self, max_tokens: int | None = None, num_oov_indices: int = 1, mask_token=None,
                 oov_token=-1, vocabulary=None, vocabulary_dtype: str = "int64", idf_weights=None,
                 invert: bool = False, output_mode: str = "int", sparse: bool = False,
                 pad_to_max_tokens: bool = False, oov_method: str = "floormod", salt=None,
                 name: str | None = None, **kwargs):
        if vocabulary_dtype != "int64":
            raise ValueError(
                f"Argument `vocabulary_dtype` must be 'int64'. Received: {vocabulary_dtype!r}"
            )
        if salt is not None and oov_method != "farmhash":
            raise ValueError(
                "Argument `salt` goes with oov_method='farmhash' alone. "
                f"Received: oov_method={oov_method!r}"
            )
        super().__init__(max_tokens, num_oov_indices, mask_token, oov_token, vocabulary,
                         idf_weights, invert, output_mode, sparse, pad_to_max_tokens, oov_method,
                         salt, name=name, **kwargs)

    def _as_tokens(self, array, name):
        if array.dtype == object:
            try:
                return np.array([int(v) for v in array.reshape(-1)]).reshape(array.shape)
            except ValueError:
                raise TypeError(
                    f"Argument `{name}` of {self.name!r} must hold integers. Received: words"
                ) from None
        if array.dtype.kind == "f" and not np.array_equal(array, np.floor(array)):
            raise ValueError(
                f"Argument `{name}` of {self.name!r} must hold integers. "
                f"Received: dtype {array.dtype}, with fractions"
            )
        return array.astype(np.int64)

    def _buckets(self, tokens):
        if self.oov_method == "floormod":
            return tokens % self.num_oov_indices
        return super()._buckets(tokens)

    def get_config(self):
        return {**super().get_config(), "oov_method": self.oov_method}
