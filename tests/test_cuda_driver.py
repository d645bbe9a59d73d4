"""What of the "cuda" backend speaks to the driver and to other libraries, which needs no GPU."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest

from fusedmlp.kernels.cuda import dlpack, driver, graph

# -- graphs --------------------------------------------------------------------------------------


class Recorder:
    """A driver that writes down what it is told, and refuses one function."""

    def __init__(self, refused=None):
        self.calls, self.refused = [], refused

    def __getattr__(self, name):
        if name == "cuGetErrorName":
            return self.name
        return lambda *arguments: self.answer(name, arguments)

    def name(self, code, name):
        name._obj.value = b"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"
        return 0

    def answer(self, name, arguments):
        self.calls.append(name)
        if name == self.refused:
            return 900
        if name == "cuStreamEndCapture":
            arguments[1]._obj.value = 11
        if name == "cuGraphInstantiateWithFlags":
            assert arguments[1].value == 11
            arguments[0]._obj.value = 12
        if name in ("cuGraphLaunch", "cuGraphExecDestroy"):
            assert arguments[0].value == 12
        return 0


@pytest.fixture
def recorder(monkeypatch):
    def make(refused=None):
        found = Recorder(refused)
        monkeypatch.setattr(driver, "_library", found)
        return found

    return make


def test_a_graph_records_once_and_starts_often(recorder):
    found, enqueued = recorder(), []
    made = graph.Graph(7, lambda: enqueued.append(list(found.calls)))
    assert enqueued == [["cuStreamBeginCapture_v2"]]
    made.start(7)
    made.start(7)
    del made
    assert found.calls == [
        "cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags",
        "cuGraphDestroy", "cuGraphLaunch", "cuGraphLaunch", "cuGraphExecDestroy"]
    assert len(enqueued) == 1


def test_a_stream_that_fails_while_recording_is_left_in_order(recorder):
    found = recorder()
    with pytest.raises(ZeroDivisionError):
        graph.Graph(7, lambda: 1 // 0)
    assert found.calls == ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphDestroy"]
    found = recorder("cuGraphInstantiateWithFlags")
    with pytest.raises(RuntimeError, match=r"cuGraphInstantiateWithFlags answers 900 \(CUDA_ERR"):
        graph.Graph(7, lambda: None)
    assert found.calls[-1] == "cuGraphDestroy"


def test_shared_memory_is_asked_for_by_kernel(monkeypatch):
    class Driver(Recorder):
        def cuKernelSetAttribute(self, attribute, size, kernel, device):
            self.calls.append((attribute, size, kernel.value, device))
            return 0

    found = Driver()
    monkeypatch.setattr(driver, "_library", found)
    driver.allow_shared(5, 100_000)
    assert found.calls == [(8, 100_000, 5, 0)]


def test_a_stream_for_recording_waits_for_no_other(recorder):
    """Else whatever other threads do on the default stream is refused meanwhile."""
    found = recorder()
    found.answer = lambda name, arguments: found.calls.append((name, arguments[1])) or 0
    driver.new_stream()
    assert found.calls == [("cuStreamCreate", 1)]


# -- DLPack --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("cut", [np.s_[:], np.s_[1:, 2:], np.s_[::2, ::-1], np.s_[:0]])
def test_memory_is_described_as_it_is(dtype, cut):
    x = np.arange(20).astype(dtype).reshape(4, 5)[cut]
    adopted = dlpack.Adopted(x, None)
    found = adopted.__cuda_array_interface__
    assert adopted.device_type == dlpack.CPU
    assert found["shape"] == x.shape
    assert found["typestr"] == x.dtype.str
    assert found["version"] == 3
    if x.size:
        assert found["data"] == (x.ctypes.data, False)
        assert found["strides"] in (None, x.strides)
        if found["strides"] is None:
            assert x.flags.c_contiguous
        first = (ctypes.c_char * x.itemsize).from_address(found["data"][0])
        assert bytes(first) == x.ravel()[0].tobytes()


def test_an_adopted_array_lives_as_long_as_it_is_adopted():
    import weakref

    class Owner(np.ndarray):
        pass

    x = np.arange(3.0).view(Owner)
    gone = weakref.ref(x)
    adopted = dlpack.Adopted(x, None)
    del x
    assert gone() is not None
    del adopted
    assert gone() is None


def test_what_holds_no_plain_numbers_is_refused():
    with pytest.raises(TypeError, match=r"integers or floating-point.* Received: DLPack type co"):
        dlpack.Adopted(np.zeros(3, complex), None)


def test_a_stream_is_passed_on_and_a_gpu_recognised():
    class Foreign:
        def __init__(self, kind):
            self.kind = kind

        def __dlpack_device__(self):
            return self.kind, 0

        def __dlpack__(self, *, stream):
            self.stream = stream
            return np.arange(4.0).__dlpack__()

    foreign = Foreign(dlpack.CUDA)
    dlpack.Adopted(foreign, 42)
    assert foreign.stream == 42
    assert dlpack.on_gpu(foreign)
    assert dlpack.on_gpu(Foreign(13))
    assert not dlpack.on_gpu(Foreign(dlpack.CPU))
    assert not dlpack.on_gpu(object())


def test_libraries_are_asked_for_order_where_they_speak_dlpack(monkeypatch):
    """PyTorch speaks both, and says nothing of its stream but by DLPack."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    from fusedmlp.kernels.cuda import memory

    class Both:
        __cuda_array_interface__ = None

        def __dlpack_device__(self):
            return dlpack.CUDA, 0

        def __dlpack__(self, *, stream):
            self.stream = stream
            return np.arange(4.0).__dlpack__()

    class One:
        __cuda_array_interface__ = None

    taken = []

    class Held(np.ndarray):
        def is_c_contiguous(self):
            return True

    monkeypatch.setattr(memory, "SIMULATED", False)
    monkeypatch.setattr(memory.cuda, "as_cuda_array",
                        lambda array: taken.append(array) or np.zeros(4).view(Held), raising=False)
    both, one = Both(), One()
    memory.adopt(both, SimpleNamespace(handle=42))
    memory.adopt(one, SimpleNamespace(handle=42))
    assert both.stream == 42
    assert isinstance(taken[0], dlpack.Adopted)
    assert taken[1] is one
