"Distillation between all networks: teacher and frozen part untouched, and plain errors for what cannot work."
import math
from itertools import product

import pytest
import torch
from test_models import NARROW
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dl4smlm.camera import Camera
from dl4smlm.data import make_loaders
from dl4smlm.distill import attentive_loss, distill, find_layer, teacher_errors, trust, watch_layers, weights_before
from dl4smlm.learner import Learner
from dl4smlm.live import LiveSimulation
from dl4smlm.losses import L1L2Loss
from dl4smlm.models.contract import random_statistics
from dl4smlm.models.zoo import create_model, list_models
from dl4smlm.simulate import simulate

quiet = {"progress": False, "device": "cpu"}
alike = {"eta": math.inf, **quiet}  # teachers with random weights deserve no trust, and would get none


def make(name="fidstorm", upscale=4, seed=0, **arguments):
    "A narrow network with the statistics of a trained one."
    torch.manual_seed(seed)
    return random_statistics(create_model(name, upscale, **(arguments or NARROW[name])), seed)


def data(batches=2, count=4, size=12):
    "Random frames, and maps with some molecules: a list of batches, twice."
    generator = torch.Generator().manual_seed(0)
    def batch():
        return (torch.randn(count, 1, size, size, generator=generator),
                (torch.rand(count, 1, 4 * size, 4 * size, generator=generator) > 0.99).float())
    return [batch() for _ in range(batches)], [batch()]


def state(model): return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second): return all(torch.equal(first[name], second[name]) for name in first)


def middle(model):
    "The name of a layer in the middle: of those with weights before and after, the one with half of them before."
    total, best = len(list(model.parameters())), None
    for name, layer in model.named_modules():
        if not name or not list(layer.parameters()): continue
        try: before = len(weights_before(model, name))
        except ValueError: continue
        if before < total and (best is None or abs(2 * before - total) < best[0]): best = abs(2 * before - total), name
    return best[1]


@pytest.mark.parametrize("taught, teaching", list(product(list_models(), repeat=2)))
def test_every_pair_with_hints(taught, teaching):
    "Hints between networks of different shapes; the teacher keeps every bit, and stage two does not touch stage one."
    student, teacher = make(taught), make(teaching, seed=1)
    hint, before = (middle(student), middle(teacher)), state(teacher)
    train, valid = data(1, 2, 9)
    first = distill(student, teacher, train, valid, epochs=1, hint=hint, **alike)
    assert list(first.index) == [("hint", 1), ("imitate", 1)] and first.notna().all(axis=None)
    assert same(state(teacher), before) and all(part.training for part in teacher.modules())  # as it came
    assert all(weight.grad is None and weight.requires_grad for weight in teacher.parameters())
    assert not any(layer._forward_hooks for model in (student, teacher) for layer in model.modules())
    assert all(weight.requires_grad for weight in student.parameters())


@pytest.mark.parametrize("name", list_models())
def test_stage_two_leaves_the_hinted_part_to_the_bit(name):
    "One and three epochs of stage two after the same stage one: the hinted part is equal, the rest is not."
    teacher, train, valid = make("fidstorm", seed=1), *data()
    results = []
    for epochs in (1, 3):
        student = make(name)
        hint = middle(student), "chain.1"
        guided = weights_before(student, hint[0])
        distill(student, teacher, train, valid, epochs=epochs, hint=hint, hint_epochs=1, **alike)
        results.append(state(student))
    owners = {weight.rpartition(".")[0] for weight in guided}
    kept = {key: value for key, value in results[0].items() if key.rpartition(".")[0] in owners}
    assert len(kept) >= len(guided) and same(kept, results[1])
    start = state(make(name))
    assert not all(torch.equal(start[key], results[0][key]) for key in guided), "stage one taught nothing"
    free = [key for key, _ in make(name).named_parameters() if key not in guided]
    assert any(not torch.equal(results[0][key], results[1][key]) for key in free)


@pytest.mark.parametrize("alpha, same_as_plain", [(1., True), (0.5, False)])
def test_without_a_say_the_teacher_changes_nothing(alpha, same_as_plain):
    train, valid = data()
    plain = Learner(make(), train, valid, L1L2Loss(), device="cpu").fit(2, progress=False)
    found = distill(make(), make(seed=1), train, valid, epochs=2, alpha=alpha, **alike).loc["imitate"]
    close = torch.allclose(torch.tensor(plain.values), torch.tensor(found.values), rtol=1e-5)
    assert close == same_as_plain


def test_a_perfect_teacher_and_one_that_is_wrong_everywhere_alike():
    target = torch.rand(3, 1, 8, 8)
    student = torch.rand(3, 1, 8, 8, requires_grad=True)
    mse = nn.MSELoss()
    perfect = attentive_loss(student, target, target, 1., 0.5, mse, mse)
    torch.testing.assert_close(perfect, mse(student, target))
    far = attentive_loss(student, target + 10, target, 1., 0.5, mse, mse)
    torch.testing.assert_close(far, 0.5 * mse(student, target))
    published = attentive_loss(student, target + 10, target, 1., 0., mse, mse, clamp=False)
    assert published < 0, "unclamped, the student is pushed away from a bad teacher"


def test_trust_is_between_0_and_1_only_when_clamped():
    errors = torch.rand(100) + 3
    eta = (errors.max() - errors.min()).item()
    assert trust(errors, eta).max() == 0 and trust(errors, eta, clamp=False).max() < 0
    assert trust(errors - errors.min(), eta).min() == 0 and trust(errors - errors.min(), eta).max() == 1
    for eta in (0, -1, math.nan):
        with pytest.raises(ValueError, match="eta must be greater than 0"): trust(errors, eta)


def test_errors_of_the_teacher_are_those_of_each_sample():
    "Whatever the batches, in order; and the same as one sample at a time through the loss."
    teacher, (train, _) = make().eval(), data(batches=3)
    x, y = (torch.cat(part) for part in zip(*train))
    found = teacher_errors(teacher, train, device="cpu")
    one_by_one = DataLoader(TensorDataset(x, y), batch_size=1)
    torch.testing.assert_close(teacher_errors(teacher, one_by_one, device="cpu"), found, rtol=1e-4, atol=1e-6)
    with torch.no_grad(): by_hand = [L1L2Loss(l1=0)(teacher(a[None]), b[None]) for a, b in zip(x, y)]
    torch.testing.assert_close(torch.stack(by_hand), found, rtol=1e-4, atol=1e-6)


def test_live_sources_and_movies():
    live = LiveSimulation(batches=2, upscale=4, size_px=16, seed=0, device="cpu")
    valid = LiveSimulation(batches=1, upscale=4, size_px=16, seed=1, fresh=False, device="cpu")
    student = make()
    distill(student, make(seed=1), live, valid, epochs=2, hint=("chain.1", "chain.3"), **alike)
    assert student.normalise == live.normalise and student.pixel_nm == live.pixel_nm
    first = teacher_errors(make(seed=1), live, device="cpu")
    torch.testing.assert_close(teacher_errors(make(seed=1), live, device="cpu"), first, rtol=0, atol=0)
    movie, truth = simulate(frames=40, size_px=16, seed=0)
    assert len(distill(student, make(seed=1), *make_loaders(movie, truth, Camera(), 4, 16), epochs=1, **alike)) == 1


def refused(*words, student=None, teacher=None, train=None, **settings):
    "The one line in which `distill` must refuse, before it trains."
    student, (ours, valid) = student or make(), data()
    before = state(student)
    with pytest.raises(ValueError) as caught:
        distill(student, teacher or make(seed=1), train or ours, valid, epochs=1, **settings, **quiet)
    assert "\n" not in str(caught.value) and same(before, state(student))
    for word in words: assert word in str(caught.value), caught.value


@pytest.mark.parametrize("name", list_models())
def test_layers_that_do_not_exist_are_told_from_those_that_do(name):
    model = make(name)
    right = middle(model)
    with pytest.raises(ValueError, match="has no layer") as caught: find_layer(model, right + "x")
    assert right in str(caught.value)
    refused("has no layer", student=model, hint=("nothing", "chain"))
    refused("has no layer", teacher=model, hint=("chain", "nothing"))


@pytest.mark.parametrize("name", ["down", "up"])
def test_a_list_of_layers_is_no_hint(name):
    "U-STORM's stages are in a list that is never called, so it never answers."
    model = make("ustorm", seed=1)
    refused(f"'{name}.0'", "list of layers", teacher=model, hint=("chain.0", name))
    refused(f"'{name}.0'", "list of layers", student=model, hint=(name, "chain.0"))


@pytest.mark.parametrize("name", list_models())
def test_asking_for_the_weights_changes_no_part(name, monkeypatch):
    "A network of which a part is in evaluation mode is as it was afterwards, also when its work is interrupted."
    model = make(name)
    layer = middle(model)
    model.train()
    next(part for part in model.modules() if not list(part.children())).eval()
    before = [part.training for part in model.modules()]
    weights_before(model, layer)
    assert [part.training for part in model.modules()] == before
    def interrupt(*_): raise KeyboardInterrupt
    monkeypatch.setattr(torch.nn.functional, "conv2d", interrupt)
    monkeypatch.setattr(nn.Conv2d, "_conv_forward", interrupt)
    with pytest.raises(KeyboardInterrupt): weights_before(model, layer)
    assert [part.training for part in model.modules()] == before


def test_what_cannot_work_is_refused():
    teacher, (train, _) = make(seed=1), data()
    refused("upscale", teacher=make(upscale=8))
    refused("the same network", student=teacher, teacher=teacher)
    refused("alpha", alpha=-0.1)
    refused("alpha", alpha=math.nan)
    refused("nothing of the student is left", hint=("last", "last"))
    refused("none of its answers would be trusted", clamp=False, train=[(train[0][0][:1], train[0][1][:1])])
    refused("so alike that none of its answers would be trusted")
    refused("not finite", train=[(train[0][0] * math.nan, train[0][1])])
    teacher.pixel_nm = 160.
    live = LiveSimulation(batches=1, upscale=4, size_px=16, device="cpu")
    refused("trained with pixel_nm 160.0, and the data have 100", teacher=teacher, train=live)


def test_a_hook_is_gone_even_after_an_error():
    model = make()
    with pytest.raises(ValueError, match="frames must have"), watch_layers(model, "chain"): model(torch.zeros(3))
    assert not find_layer(model, "chain")._forward_hooks


def test_training_that_breaks_leaves_networks_as_usual():
    "A loss that is NaN stops stage two: nothing stays frozen, no hook stays."
    student, teacher, (train, valid) = make(), make(seed=1), data()
    def broken(prediction, target): return (prediction * math.nan).mean()
    with pytest.raises(ValueError, match="the loss is nan"):
        distill(student, teacher, train, valid, epochs=1, hint=("chain.1", "chain.2"), loss=broken, **alike)
    assert all(weight.requires_grad for weight in student.parameters())
    assert not any(layer._forward_hooks for model in (student, teacher) for layer in model.modules())
