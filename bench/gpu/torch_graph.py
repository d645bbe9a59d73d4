"""PyTorch on the GPU: data there, and a whole training step recorded as one CUDA graph.

What is recorded are PyTorch's own kernels, or what ``torch.compile`` makes of forward and backward.
A step begins with a copy of its row numbers to where the graph reads them.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F

from ..peers import torch_
from ..workloads import BETA_1, BETA_2, EPSILON, LEARNING_RATE, MOMENTUM

__all__ = ["ADAPTERS"]

_WARM = 3  # steps before one is recorded; their changes are taken back


class _Trainer:
    compiled = False

    def __init__(self, work, x, y, layers):
        self.work = work
        self.x, self.y = torch.from_numpy(x).cuda(), torch.from_numpy(y).cuda()
        self.model = torch_._network(work, layers).cuda()
        parameters = list(self.model.parameters())
        if work.optimizer == "adam":
            self.optimizer = torch.optim.Adam(parameters, LEARNING_RATE["adam"], (BETA_1, BETA_2),
                                              EPSILON, fused=True, capturable=True)
        else:
            self.optimizer = torch.optim.SGD(parameters, LEARNING_RATE["momentum"], MOMENTUM,
                                             nesterov=True, fused=True)
        self.index = torch.zeros(work.batch, dtype=torch.int64, device="cuda")
        self.total = torch.zeros((), device="cuda")
        self.loss = torch.compile(self._loss) if self.compiled else self._loss
        self.stream = torch.cuda.Stream()
        self._record()

    def _loss(self, x, y):
        with torch.autocast("cuda", torch.bfloat16, enabled=self.work.policy == "mixed_bfloat16"):
            z = self.model(x)
        if self.work.loss == "softmax_cross_entropy":
            return F.cross_entropy(z.float(), y)
        return F.mse_loss(z.float(), y)

    def _step(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.x[self.index], self.y[self.index])
        loss.backward()
        self.optimizer.step()
        self.total += loss.detach()

    def _record(self):
        before = [p.detach().clone() for p in self.model.parameters()]
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            for _ in range(_WARM):
                self._step()
        self.stream.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=self.stream):
            self._step()
        with torch.no_grad():
            for p, value in zip(self.model.parameters(), before, strict=True):
                p.copy_(value)
            for state in self.optimizer.state.values():
                for value in state.values():
                    if torch.is_tensor(value):
                        value.zero_()
        torch.cuda.synchronize()

    def train(self, shuffle):
        rows, batch, losses = len(self.x), self.work.batch, []
        for _ in range(self.work.epochs):
            order = (torch.randperm if shuffle else torch.arange)(rows, device="cuda")
            self.total.zero_()
            for start in range(0, rows, batch):
                self.index.copy_(order[start : start + batch])
                self.graph.replay()
            losses.append(self.total.item() / self.work.steps)
        return losses

    def layers(self):
        return [(module.weight.detach().cpu().numpy().T, module.bias.detach().cpu().numpy())
                for module in self.model if isinstance(module, nn.Linear)]


class _Compiled(_Trainer):
    compiled = True


def _predictor(work, layers):
    model = torch_._network(work, layers).cuda().eval()
    classes = work.loss == "softmax_cross_entropy"

    @torch.compile
    def network(x):
        z = model(x)
        return torch.softmax(z, 1) if classes else z

    @torch.inference_mode()
    def predict(x):
        parts = [network(part) for part in x.split(1 << 16)]
        torch.cuda.synchronize()
        return torch.cat(parts)

    return predict


def _there(x):
    return torch.from_numpy(x).cuda()


def _here(y):
    return y.cpu().numpy()


ADAPTERS = [
    SimpleNamespace(NAME="PyTorch, graph", DISTRIBUTIONS=("torch",), EPSILON_HAT=False,
                    Trainer=_Trainer),
    SimpleNamespace(NAME="PyTorch, compiled, graph", DISTRIBUTIONS=("torch",), EPSILON_HAT=False,
                    Trainer=_Compiled, predictor=_predictor, there=_there, here=_here),
]
