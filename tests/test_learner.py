"What a Learner does to a network that was trained before, and what it says of the run in a folder."
import warnings

import pytest
import torch
from torch import nn

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


