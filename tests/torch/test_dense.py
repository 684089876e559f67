"""The dense solver on PyTorch's devices, here the CPU as one: against the reference and against the kernels."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.batch import Batch
from fm_core.checkpoints.writer import Checkpointer
from fm_core.errors import DivergenceError, ResourceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.kernels import reference
from fm_core.model import Model
from fm_core.solvers.minibatch import MiniBatchSolver as Solver
from fm_core.training.fit import fit
from tests.conftest import ROOT
from tests.fm_core.strategies import assert_trained_alike, dense_batches, hyperparameters_for

torch = pytest.importorskip("torch", reason="PyTorch is absent: `make test-torch` has it")

from fm_core.solvers.minibatch_torch import DenseDevice  # noqa: E402

#: As many devices as GPUs may be: rows of a batch are shared out among them.
DEVICES = st.sampled_from([1, 2, 3]).map(lambda n: ["cpu"] * n)

HP = Hyperparameters(
    feature_dim=30, num_factors=5, predictor_type="binary_classifier", mini_batch_size=40, epochs=3,
    factors_lr=0.01, linear_lr=0.01, bias_lr=0.01,
)  # fmt: skip


def trained(solver, batches):
    """What is learned and said of some batches."""
    scores = [solver.step(batch).copy() for batch in batches]
    at = solver.parameters
    return at.params.copy(), at.state.copy(), at.bias.copy(), np.concatenate(scores)


def by_reference(hp, batches):
    return trained(Solver(hp, kernels=reference), batches)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adagrad"])
def test_a_gradient_of_zero_moves_nothing(optimizer):
    """As the kernels: a feature alone in its rows has no pairs."""
    random = np.random.default_rng(3)
    X = np.zeros((50, 7), np.float32)
    X[np.arange(50), random.integers(0, 7, 50)] = random.normal(size=50)
    hp = dataclasses.replace(HP, feature_dim=7, _optimizer=optimizer, factors_wd=0)
    solver = DenseDevice(["cpu"]).solver(hp)
    before = solver.parameters.params[:, :-1].copy()
    params = trained(solver, [Batch.from_dense(X, random.integers(0, 2, 50))] * 3)[0]
    assert params[:, :-1].tobytes() == before.tobytes()


def rows(n=250, width=30, seed=0):
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, width)).astype(np.float32) * (random.random((n, width)) < 0.5)
    y = (X[:, 0] * X[:, 1] + X[:, 2] > 0).astype(np.float32)
    return X.astype(np.float32), y


def batches_of(X, y, size=HP.mini_batch_size):
    cut = [Batch.from_dense(X[i : i + size], y[i : i + size]) for i in range(0, len(X), size)]
    return lambda epoch: iter(cut)


@given(data=st.data(), devices=DEVICES)
def test_a_step_is_the_references(data, devices):
    batch = data.draw(dense_batches())
    hp = data.draw(hyperparameters_for(batch.feature_dim))
    hp = dataclasses.replace(hp, eps=max(hp.eps, 0.1))  # of rounding errors smaller ones make a hundred times as much
    solver = DenseDevice(devices).solver(hp)
    assert_trained_alike(trained(solver, [batch, batch]), by_reference(hp, [batch, batch]))


@given(data=st.data(), devices=DEVICES)
def test_scores_are_the_kernels(data, devices):
    batch = data.draw(dense_batches())
    hp = data.draw(hyperparameters_for(batch.feature_dim))
    np.testing.assert_allclose(
        DenseDevice(devices).solver(hp).predict(batch), Solver(hp).predict(batch), rtol=1e-4, atol=2e-5
    )


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adagrad", "ftrl"])
@pytest.mark.parametrize("rate", ["factors_lr", "linear_lr", "bias_lr"])
def test_a_rate_of_zero_leaves_its_group_as_it_was(optimizer, rate):
    hp = dataclasses.replace(HP, _optimizer=optimizer, **{rate: 0.0})
    batches = list(batches_of(*rows())(0))
    found, expected = trained(DenseDevice(["cpu"]).solver(hp), batches), by_reference(hp, batches)
    assert_trained_alike(found, expected)
    start = Solver(hp).parameters
    group = {"factors_lr": np.s_[:, :-1], "linear_lr": np.s_[:, -1]}
    if rate in group:
        assert found[0][group[rate]].tobytes() == start.params[group[rate]].tobytes()
        assert (found[0] != start.params).any()
    else:
        assert found[2][0] == start.bias[0]


def test_the_same_batches_give_the_same_bits():
    batches = list(batches_of(*rows(999))(0))
    first, second = (trained(DenseDevice(["cpu", "cpu"]).solver(HP), batches) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("predictor_type", ["binary_classifier", "regressor"])
def test_fit_learns_what_it_learns_without_a_device(predictor_type):
    hp = dataclasses.replace(HP, predictor_type=predictor_type, eps=1e-3)
    batches, validation = batches_of(*rows()), batches_of(*rows(seed=1))
    asked = []

    def device():
        asked.append(True)
        return DenseDevice(["cpu"])

    here, there = Told(), Told()
    ours = fit(batches, hp, validation=validation, callback=here)
    found = fit(batches, hp, validation=validation, callback=there, device=device)
    assert asked == [True]
    np.testing.assert_allclose(found.model.V, ours.model.V, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.model.w, ours.model.w, rtol=1e-3, atol=1e-5)
    assert found.model.w0 == pytest.approx(ours.model.w0, rel=1e-4)
    assert len(there.metrics) == len(here.metrics) == 6
    for a, b in zip(there.metrics, here.metrics, strict=True):
        assert a == pytest.approx(b, rel=1e-4)


class Told:
    """A callback that keeps the metrics it is told."""

    def __init__(self):
        self.metrics = []

    def epoch(self, report):
        self.metrics.append(report.metrics)

    validated = epoch

    def resumed(self, report):
        pass

    started = batch = resumed


def test_a_device_that_is_not_to_be_used_changes_nothing():
    batches = batches_of(*rows())
    ours, found = fit(batches, HP), fit(batches, HP, device=lambda: None)
    assert found.model.V.tobytes() == ours.model.V.tobytes()


def test_sparse_data_does_not_ask_for_a_device():
    import scipy.sparse

    X, y = rows()
    batch = Batch.from_csr(scipy.sparse.csr_matrix(X), y)
    fit(lambda epoch: [batch], HP, device=lambda: pytest.fail("asked for a device"))


def test_early_stopping_keeps_the_best_epochs_parameters():
    hp = dataclasses.replace(HP, epochs=12, early_stopping_patience=2, factors_lr=0.5, linear_lr=0.5)
    (X, y), (X_valid, y_valid) = rows(80), rows(80, seed=1)
    found = fit(batches_of(X, y), hp, validation=batches_of(X_valid, y_valid), device=lambda: DenseDevice(["cpu"]))
    assert found.epochs_done < 12
    again = dataclasses.replace(hp, epochs=found.epochs_done - 2, early_stopping_patience=None)
    best = fit(batches_of(X, y), again, device=lambda: DenseDevice(["cpu"])).model
    assert found.model.V.tobytes() == best.V.tobytes()


# --- checkpoints ---


def stopped_and_resumed(folder, devices_before, devices_after, stop_after):
    """Train, stop after some batches, and go on from the checkpoint in another solver."""

    def device_of(devices):
        return (lambda: DenseDevice(devices)) if devices else None

    batches = batches_of(*rows())
    seen = iter(range(10**6))
    first = Checkpointer(folder, "algo-1", HP)
    fit(batches, HP, checkpointer=first, should_stop=lambda: next(seen) > stop_after, device=device_of(devices_before))
    first.close()
    second = Checkpointer(folder, "algo-1", HP)
    resume = second.latest()
    assert 0 < resume.position.n_steps < 21
    result = fit(batches, HP, checkpointer=second, resume=resume, device=device_of(devices_after))
    second.close()
    return result.model


@pytest.mark.parametrize("devices", [["cpu"], ["cpu", "cpu"]], ids=len)
@pytest.mark.parametrize("stop_after", [12, 30])
def test_a_training_that_was_cut_off_ends_with_the_same_bytes(tmp_path, devices, stop_after):
    whole = fit(batches_of(*rows()), HP, device=lambda: DenseDevice(devices)).model
    resumed = stopped_and_resumed(tmp_path, devices, devices, stop_after)
    assert resumed.V.tobytes() == whole.V.tobytes()
    assert resumed.w.tobytes() == whole.w.tobytes()
    assert resumed.w0 == whole.w0


@pytest.mark.parametrize(("before", "after"), [(["cpu"], None), (None, ["cpu"])], ids=["to CPU", "from CPU"])
def test_a_checkpoint_goes_on_elsewhere(tmp_path, before, after):
    whole = fit(batches_of(*rows()), HP).model
    resumed = stopped_and_resumed(tmp_path, before, after, 20)
    np.testing.assert_allclose(resumed.V, whole.V, rtol=2e-2, atol=1e-4)
    np.testing.assert_allclose(resumed.w, whole.w, rtol=2e-2, atol=1e-4)


# --- starting points and faults ---


def test_training_starts_from_a_model():
    start = fit(batches_of(*rows()), HP).model
    start = Model(start.predictor_type, start.w0, start.w.copy(), start.V.copy())
    hp = dataclasses.replace(HP, epochs=1, eps=1e-3)
    ours = fit(batches_of(*rows()), hp, model=start).model
    found = fit(batches_of(*rows()), hp, model=start, device=lambda: DenseDevice(["cpu"])).model
    np.testing.assert_allclose(found.V, ours.V, rtol=1e-3, atol=1e-5)
    assert not np.allclose(found.V, start.V, atol=1e-5)


def test_divergence_is_told_with_its_place():
    hp = dataclasses.replace(HP, predictor_type="regressor", factors_lr=1e20, _optimizer="sgd")
    with pytest.raises(DivergenceError, match=r"epoch 0, batch [1-6]: scores are no longer finite at update"):
        fit(batches_of(*rows()), hp, device=lambda: DenseDevice(["cpu"]))


def test_what_a_gpu_cannot_hold_or_do_is_a_sentence():
    from fm_core.kernels.torch_dense import failures_told

    with (
        pytest.raises(ResourceError, match="training needs more memory than a GPU has: lower"),
        failures_told(),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
    with pytest.raises(OSError, match=r"^a GPU failed: CUDA error: unspecified launch failure; run"), failures_told():
        raise torch.AcceleratorError("CUDA error: unspecified launch failure\nCompile with")


def test_float32_is_not_made_coarser():
    DenseDevice(["cpu"])
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"


def test_pytorch_is_imported_for_a_device_only():
    modules = "fm_core.solvers.minibatch_torch, fm_core.training.fit, container.train"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"


# --- several processes ---

MEMBER = """
import sys
import numpy as np
import torch.distributed as dist
from fm_core.hyperparameters import Hyperparameters
from fm_core.batch import Batch
from fm_core.solvers.minibatch_torch import DenseDevice
folder, rank, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=size)
given = np.load(folder + "/rows.npz")
hp = Hyperparameters(feature_dim=30, num_factors=5, predictor_type="binary_classifier", mini_batch_size=20, eps=1e-3,
                     factors_lr=.01, linear_lr=.01, bias_lr=.01)
def reduce(tensors):
    for tensor in tensors:
        dist.all_reduce(tensor)
solver = DenseDevice(["cpu"], reduce=reduce, n_members=size).solver(hp)
X, y = given["X"], given["y"]
for start in range(rank * 20, len(X), size * 20):
    solver.step(Batch.from_dense(X[start : start + 20], y[start : start + 20]))
np.savez(f"{folder}/learned-{rank}.npz", **solver.arrays())
dist.destroy_process_group()
"""


def test_two_processes_train_as_one(tmp_path):
    X, y = rows(240)
    np.savez(tmp_path / "rows.npz", X=X, y=y)
    members = [
        subprocess.Popen([sys.executable, "-c", MEMBER, str(tmp_path), str(rank), "2"], cwd=ROOT) for rank in range(2)
    ]
    assert [member.wait(100) for member in members] == [0, 0]
    first, second = (np.load(tmp_path / f"learned-{rank}.npz") for rank in range(2))
    for name in first.files:
        assert first[name].tobytes() == second[name].tobytes()
    hp = dataclasses.replace(HP, eps=1e-3)
    params, state, bias, _ = trained(Solver(hp), batches_of(X, y, 40)(0))
    np.testing.assert_allclose(first["params"], params, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(first["state"], state, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(first["bias"], bias, rtol=2e-4, atol=2e-5)
