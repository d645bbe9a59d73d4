"""The peers on a GPU: PyTorch with CUDA graphs, as it is and compiled, and JAX.

Each adapter does what a knowledgeable user of the library would: data on the device, a whole step
in one graph (PyTorch) or a whole epoch in one program (JAX), products in float32.
"""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import numpy as np

from ..peers import Unsupported
from .card import Replay

__all__ = ["TORCH", "load", "torch_product"]

TORCH = SimpleNamespace(NAME="PyTorch")


def _torch():
    try:
        import torch
    except ImportError:
        raise Unsupported("not installed") from None
    if not torch.cuda.is_available():
        raise Unsupported("installed without CUDA, or for another version of it")
    torch.backends.cuda.matmul.allow_tf32 = False
    return torch


def load():
    """Adapters as `bench.peers` has them, and why others are missing."""
    from . import fused

    adapters, missing = [fused], {}
    try:
        _torch()
    except Unsupported as reason:
        missing["PyTorch"] = str(reason)
    else:
        from . import torch_graph

        adapters += torch_graph.ADAPTERS
    try:
        import jax

        if jax.default_backend() != "gpu":
            raise ImportError("installed without CUDA")
        jax.config.update("jax_default_matmul_precision", "highest")  # else products are in tf32
        adapters.append(importlib.import_module("bench.peers.jax_scan"))
    except ImportError as reason:
        missing["JAX"] = f"not installed ({reason})" if "CUDA" not in str(reason) else str(reason)
    return adapters, missing


def torch_product(adapter, card, kind, given):
    """A product of `bench.gpu.products` by PyTorch, as a `Replay`; and its error."""
    from . import products

    torch = _torch()
    stream = torch.cuda.Stream()
    x, kernel, bias, dz = (torch.from_numpy(np.array(a)).cuda() for a in given)
    shapes = {"dx": [x.shape], "dw and db": [kernel.shape, bias.shape]}.get(kind, [dz.shape])
    out = [torch.full(shape, torch.nan, device="cuda") for shape in shapes]

    def work():
        if kind == "product":
            torch.matmul(x, kernel, out=out[0])
        elif kind == "dense relu":
            out[0] = torch._addmm_activation(bias, x, kernel)  # one launch of cuBLASLt
        elif kind == "dx":
            torch.matmul(dz, kernel.T, out=out[0])
        else:
            torch.matmul(x.T, dz, out=out[0])
            torch.sum(dz, 0, out=out[1])

    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(card.LAUNCHES):
            work()

    def start():
        with torch.cuda.stream(stream):
            graph.replay()

    start()
    torch.cuda.synchronize()
    contender = Replay(start, stream.cuda_stream)
    contender.held = x, kernel, bias, dz, out, graph
    return contender, products.error(kind, given, [one.cpu().numpy() for one in out])
