"What a Learner does to a network that was trained before, and what it says of the run in a folder."
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset

import dl4smlm as smlm


@pytest.fixture
def trained():
    "A small network that has learned from frames of 100 nm, with all that is known of it."
    camera = smlm.Camera(pixel_nm=100)
    smlm.set_seed(0)
    model = smlm.create_model("fidstorm", upscale=4, blocks=1, width=8)
    smlm.Learner(model, *loaders(camera), smlm.L1L2Loss(), device="cpu").fit(1, progress=False)
    model.threshold, model.calibration = 0.3, {"confidence": [0., 1.]}
    return model


def loaders(camera, **settings):
    movie, truth = smlm.simulate(frames=10, density=1, size_px=16, camera=camera, seed=0)
    return smlm.make_loaders(movie, truth, camera, upscale=4, patch_px=16, **settings)


def known(model): return [getattr(model, name) for name in ("normalise", "pixel_nm", "threshold", "calibration")]


def test_a_learner_that_looks_changes_nothing_of_a_trained_network(trained):
    before, weights = known(trained), {name: value.clone() for name, value in trained.state_dict().items()}
    other = smlm.Learner(trained, *loaders(smlm.emccd_camera(pixel_nm=160)), smlm.L1L2Loss(), device="cpu")
    other.validate()
    assert known(trained) == before
    assert all(torch.equal(value, weights[name]) for name, value in trained.state_dict().items())


def test_a_fit_on_other_frames_warns_and_forgets_what_held_for_the_old_weights(trained):
    train, valid = loaders(smlm.emccd_camera(pixel_nm=160))
    with pytest.warns(UserWarning, match="pixel_nm 100, now 160") as said:
        smlm.Learner(trained, train, valid, smlm.L1L2Loss(), device="cpu").fit(1, progress=False)
    assert len(said) == 1 and "normalise Normalise(" in str(said[0].message) and said[0].filename == __file__
    assert known(trained) == [train.dataset.normalise, 160, None, None]


def test_a_fit_on_frames_of_the_same_kind_says_nothing(trained):
    train, valid = loaders(smlm.Camera(pixel_nm=100.004))  # as a file may have rounded it
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smlm.Learner(trained, train, valid, smlm.L1L2Loss(), device="cpu").fit(1, progress=False)
    assert known(trained)[2:] == [None, None]


def test_a_fit_that_cannot_begin_leaves_a_trained_network_as_it_was(trained, tmp_path):
    train, valid = loaders(smlm.Camera(pixel_nm=160))
    def learner(): return smlm.Learner(trained, train, valid, smlm.L1L2Loss(), device="cpu")
    smlm.Learner(smlm.create_model("fidstorm", upscale=4, blocks=1, width=8), train, valid, smlm.L1L2Loss(),
                 device="cpu").fit(1, progress=False, folder=tmp_path/"run")
    before = known(trained)
    with pytest.raises(ValueError, match="longer or shorter"):
        learner().fit(2, progress=False, folder=tmp_path/"run", resume=True)
    assert known(trained) == before


def test_a_layer_that_has_a_threshold_of_its_own_keeps_it():
    class Steep(nn.Threshold):
        def __init__(self):
            super().__init__(0.1, 0.)
            self.w = nn.Parameter(torch.ones(()))

        def forward(self, x): return super().forward(self.w*x)

    model, batch = Steep(), [(torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8))]
    smlm.Learner(model, batch, list(batch), nn.functional.mse_loss, device="cpu").fit(1, progress=False)
    assert model.threshold == 0.1


def test_a_line_above_the_bar_says_whether_there_was_a_run_to_go_on_with(tmp_path, capsys):
    batch = [(torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8))]
    def fit(folder, resume=True, progress=True):
        learner = smlm.Learner(nn.Conv2d(1, 1, 1), batch, list(batch), nn.functional.mse_loss, device="cpu")
        learner.fit(2, progress, tmp_path/folder, resume)
        said = capsys.readouterr()
        assert not said.out
        return said.err

    assert f"there is no run in {tmp_path/'run'} to go on with" in fit("run")
    assert f"the run in {tmp_path/'run'} goes on after epoch 2 of 2" in fit("run")
    assert "no run" in fit("rum")
    assert "no run" not in fit("new", resume=False)
    assert not fit("silent", progress=False)


def test_a_finished_run_is_trained_on_from_its_best_weights(tmp_path):
    "What the error advises: the weights in best.safetensors, and another folder."
    from safetensors.torch import load_file
    batch = [(torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8))]
    def learner(net): return smlm.Learner(net, batch, list(batch), nn.functional.mse_loss, lr=0.01, device="cpu")
    first = learner(nn.Conv2d(1, 1, 1)).fit(3, progress=False, folder=tmp_path/"run")
    net = nn.Conv2d(1, 1, 1)
    net.load_state_dict(load_file(tmp_path/"run"/"best.safetensors"))
    more = learner(net).fit(3, progress=False, folder=tmp_path/"more")
    assert more["train"].iloc[0] == pytest.approx(first["valid"].min()) and more["valid"].min() < first["valid"].min()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_first_epoch_that_ends_early_leaves_a_trained_network_as_it_was(trained, error):
    class Halt(smlm.Callback):
        def after_step(self, learner): raise error("stop")

    before, weights = known(trained), {name: value.clone() for name, value in trained.state_dict().items()}
    data = loaders(smlm.Camera(pixel_nm=100))
    learner = smlm.Learner(trained, *data, smlm.L1L2Loss(), device="cpu", callbacks=[Halt()])
    with pytest.raises(error, match="stop"): learner.fit(1, progress=False)
    assert known(trained) == before and learner.interrupted == (error is KeyboardInterrupt)
    assert all(torch.equal(value, weights[name]) for name, value in trained.state_dict().items())


def test_a_run_goes_on_with_the_batches_of_a_sampler_within_a_batch_sampler(tmp_path):
    class Halt(smlm.Callback):
        def before_epoch(self, learner):
            if len(learner.history) == 1: raise SystemExit

    def learner(*callbacks):
        train, valid = loaders(smlm.Camera(pixel_nm=100))
        train = DataLoader(train.dataset, batch_sampler=BatchSampler(train.sampler, 4, False))
        smlm.set_seed(0)
        model = smlm.create_model("fidstorm", upscale=4, blocks=1, width=8)
        return smlm.Learner(model, train, valid, smlm.L1L2Loss(), device="cpu", callbacks=callbacks)

    calm = learner().fit(2, progress=False)
    with pytest.raises(SystemExit): learner(Halt()).fit(2, progress=False, folder=tmp_path/"run")
    assert learner().fit(2, progress=False, folder=tmp_path/"run", resume=True).equals(calm)


def begin(folder, train, valid, loss):
    "Train into a folder, and be struck in the second of three epochs."
    class Halt(smlm.Callback):
        def after_epoch(self, learner):
            if len(learner.history) == 2: raise SystemExit

    with pytest.raises(SystemExit): small(train, valid, loss, Halt()).fit(3, progress=False, folder=folder)


def small(train, valid, loss, *callbacks):
    smlm.set_seed(0)
    model = smlm.create_model("fidstorm", upscale=4, blocks=1, width=8)
    return smlm.Learner(model, train, valid, loss, device="cpu", callbacks=callbacks)


def test_a_run_goes_on_with_the_same_loss_and_the_same_camera_only(tmp_path):
    "Two losses in one history have no common best epoch, and another camera other frames."
    ours, other = loaders(smlm.Camera(pixel_nm=100)), loaders(smlm.emccd_camera(pixel_nm=160))
    begin(tmp_path/"run", *ours, smlm.L1L2Loss())
    for data, loss, why in ((ours, smlm.WeightedMSE(), "L1L2Loss.*WeightedMSE"),
                            (ours, smlm.L1L2Loss(l1=0.5), "l1=0.5"),
                            (ours, lambda p, y: (p - y).square().mean(), "lambda"),
                            (other, smlm.L1L2Loss(), "'training pixel_nm': 100.0.*'training pixel_nm': 160.0")):
        learner = small(*data, loss)
        with pytest.raises(ValueError, match=why): learner.fit(3, progress=False, folder=tmp_path/"run", resume=True)
        assert len(learner.history) == 0 and learner.model.pixel_nm is None
    assert len(small(*ours, smlm.L1L2Loss()).fit(3, progress=False, folder=tmp_path/"run", resume=True)) == 3


def test_a_run_goes_on_with_the_same_stream_only(tmp_path):
    def streams(**changes):
        settings = {"upscale": 4, "size_px": 16, "batch_size": 8, "batches": 2, "device": "cpu"} | changes
        return [smlm.LiveSimulation(seed=seed, fresh=fresh, **settings) for seed, fresh in ((1, True), (2, False))]

    begin(tmp_path/"run", *streams(), smlm.L1L2Loss())
    with pytest.raises(ValueError, match="training ranges.*density"):
        small(*streams(density=9.), smlm.L1L2Loss()).fit(3, progress=False, folder=tmp_path/"run", resume=True)
    used = streams()
    list(used[0])  # one that has been gone through counts its passes
    assert len(small(*used, smlm.L1L2Loss()).fit(3, progress=False, folder=tmp_path/"run", resume=True)) == 3


class Noisy(Dataset):
    "Other samples each time, and a file that is opened by the first one who reads."
    def __init__(self): self.file = None
    def __len__(self): return 4
    def __getitem__(self, index):
        self.file = "open"
        return torch.randn(1, 8, 8), torch.ones(1, 32, 32)


class Named(Noisy):
    "Samples that have names instead of numbers."
    def __getitem__(self, index): return super().__getitem__({"a": 0}[index])


@pytest.mark.parametrize("kind, sampler", [(Noisy, None), (Named, ["a"]*4)])
def test_data_that_cannot_be_looked_at_are_not_compared_and_stay_as_they_are(tmp_path, kind, sampler):
    seen = []
    class Look(smlm.Callback):
        def before_fit(self, learner): seen.append(learner.train.dataset.file)

    def data(): return (DataLoader(kind(), 2, sampler=sampler) for _ in range(2))
    begin(tmp_path/"run", *data(), smlm.L1L2Loss())
    resumed = small(*data(), smlm.L1L2Loss(), Look())
    assert len(resumed.fit(3, progress=False, folder=tmp_path/"run", resume=True)) == 3 and seen == [None]


def test_what_is_known_of_the_best_weights_comes_back_with_them(trained):
    data = loaders(smlm.Camera(pixel_nm=100))
    learner = smlm.Learner(trained, *data, smlm.L1L2Loss(), lr=3e-3, device="cpu")
    learner.fit(2, progress=False)
    trained.threshold, trained.calibration = 0.4, {"confidence": [0., 1.]}
    best, before, learner.lr = learner.best_epoch, known(trained), 3.
    learner.fit(1, progress=False)
    assert learner.best_epoch == best and known(trained) == before
    learner.lr = 3e-3
    learner.fit(4, progress=False)
    assert learner.best_epoch > best and known(trained)[2:] == [None, None]


def test_a_bundle_keeps_a_score_that_a_callback_wrote_into_the_history(tmp_path):
    class Score(smlm.Callback):
        def after_epoch(self, learner):
            if len(learner.history) > 1: learner.history.loc[len(learner.history), "score"] = 0.5

    learner = small(*loaders(smlm.Camera(pixel_nm=100)), smlm.L1L2Loss(), Score())
    assert learner.fit(2, progress=False).columns.tolist() == ["train", "valid", "score"]
    smlm.save_pretrained(learner.model, tmp_path/"net", learner=learner)
    history = smlm.load_card(tmp_path/"net")["notes"]["history"]
    assert history["score"][-1] == 0.5 and len(history["valid"]) == 2
    smlm.show_history(learner.history)
