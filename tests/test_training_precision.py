"Half precision with its scaler, on the CPU as far as that goes; the same on a graphics card where there is one."
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dl4smlm.core import make_generator, set_seed
from dl4smlm.learner import Callback, Learner

DEVICES = ["cpu",
           pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")),
           pytest.param("mps", marks=pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no MPS device"))]


def constant(optimizer, steps): return torch.optim.lr_scheduler.ConstantLR(optimizer, 1)


def make_learner(device, precision, loss=nn.functional.mse_loss, **settings):
    "A small network on fixed data; plain descent with a rate of 1, so that a step is as long as the gradient."
    set_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
    x, y = (torch.randn(16, 1, 12, 12, generator=make_generator(seed)) for seed in (1, 2))
    batches = [(x[:8], y[:8]), (x[8:], y[8:])]
    settings = {"lr": 1., "optimizer": torch.optim.SGD, "schedule": constant} | settings
    return Learner(net, batches, list(batches), loss, device=device, precision=precision, **settings)


class Watch(Callback):
    "Note the weights and the factor on the slopes after each step."
    def __init__(self): self.weights, self.factors = [], []
    def before_fit(self, learner): self.after_step(learner)

    def after_step(self, learner):
        self.weights.append(torch.cat([weight.detach().flatten().clone() for weight in learner.model.parameters()]))
        scaler = learner.engine.scaler
        self.factors.append(None if scaler is None else scaler.get_scale())

    def _lengths(self): return [(new - old).norm().item() for old, new in zip(self.weights, self.weights[1:])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_follows_the_full_one(device, precision):
    runs = [make_learner(device, kind, lr=0.1).fit(3, progress=False) for kind in ("float32", precision)]
    assert runs[0]["train"].iloc[-1] < runs[0]["train"].iloc[0]
    assert_close(*(torch.tensor(run.values) for run in runs), rtol=0.02, atol=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_true_gradient_is_clipped(device, precision):
    "The factor of the scaler, 65536 at the start, must be out of the slopes before they are measured."
    watch = Watch()
    learner = make_learner(device, precision, clip=1e-2, callbacks=[watch])
    learner.fit(2, progress=False)
    assert_close(watch._lengths(), [1e-2]*4, rtol=0.01, atol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_a_step_that_overflows_is_left_out(device):
    "The first loss is too large for 16 bits: no weight and no rate moves, and the factor is halved."
    calls = []

    def loss(prediction, target):
        calls.append(1)
        return nn.functional.mse_loss(prediction, target)*(1e6 if len(calls) == 1 else 1)

    def halving(optimizer, steps): return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

    class Rates(Callback):
        def __init__(self): self.seen = []
        def after_step(self, learner): self.seen.append(learner.optimizer.param_groups[0]["lr"])

    watch, rates = Watch(), Rates()
    learner = make_learner(device, "float16", loss, lr=0.1, schedule=halving, callbacks=[watch, rates])
    learner.fit(2, progress=False)
    lengths = watch._lengths()
    assert lengths[0] == 0 and min(lengths[1:]) > 0
    assert watch.factors == [2**16] + [2**15]*4
    assert rates.seen == [0.1, 0.05, 0.025, 0.0125]
    assert math.isfinite(learner.history["valid"].iloc[-1])


def test_the_factor_is_part_of_a_checkpoint(tmp_path):
    "A run stopped after two of four epochs goes on with its factor, and ends with the same bits."
    def stop_at(epochs):
        class Stop(Callback):
            def after_epoch(self, learner):
                if len(learner.history) == epochs: raise SystemExit
        return Stop()

    class Grow(Callback):
        def before_fit(self, learner): learner.engine.scaler.set_growth_interval(2)

    calm, struck, resumed = (make_learner("cpu", "float16", lr=0.1, callbacks=callbacks)
                             for callbacks in ([Grow()], [Grow(), stop_at(3)], [Grow()]))
    calm.fit(4, progress=False)
    with pytest.raises(SystemExit): struck.fit(4, progress=False, folder=tmp_path)
    resumed.fit(4, progress=False, folder=tmp_path, resume=True)
    assert resumed.engine.scaler.get_scale() == calm.engine.scaler.get_scale() > 2**16
    assert_close(resumed.model.state_dict(), calm.model.state_dict(), rtol=0, atol=0)
