"A contest is fair: the same batches for all, and a movie and a table that belong together and to the networks."
import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader

import dl4smlm as smlm
from dl4smlm.checkpoint import loader_generators
from dl4smlm.compare import epochs_in, judge, score_groups
from dl4smlm.io import Movie

quiet = {"device": "cpu", "progress": False, "draws": 4}
MOVIE, TRUTH = smlm.simulate(frames=40, density=1, size_px=32, camera=smlm.Camera(), seed=0)


def tiny(): return smlm.create_model("fidstorm", 4, blocks=1, width=4)


def streams(**changes):
    settings = {"upscale": 8, "size_px": 16, "batches": 1, "seed": 0, "device": "cpu"} | changes
    return smlm.LiveSimulation(**settings), smlm.LiveSimulation(**settings, fresh=False)


def scaled(factor): return TRUTH.assign(x_nm=TRUTH["x_nm"]*factor, y_nm=TRUTH["y_nm"]*factor)


@pytest.fixture
def opened(tmp_path):
    "The movie, from a file that says that its pixels have 80 nm."
    smlm.save_movie(MOVIE, tmp_path/"movie.tif", pixel_nm=80)
    with smlm.open_movie(tmp_path/"movie.tif") as movie: yield movie


def shuffled(hidden=False):
    "Loaders that cut at random: by a sampler, or by one within a batch sampler."
    train, valid = smlm.make_loaders(MOVIE, TRUTH, smlm.Camera(), upscale=4, patch_px=16, batch_size=8, patches=16)
    if hidden: train = DataLoader(train.dataset, batch_sampler=BatchSampler(train.sampler, 8, False))
    return train, valid


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("minutes", [None, 1e-9])
def test_every_network_draws_the_same_batches_from_loaders_that_shuffle(minutes, hidden):
    loaders = shuffled(hidden)
    before = [generator.get_state() for generator in loader_generators(loaders[0])]
    contest = smlm.compare({"a": tiny(), "b": tiny()}, *loaders, (MOVIE, TRUTH), epochs=2, minutes=minutes, **quiet)
    a, b = (contest.history[contest.history["network"] == label][["train", "valid"]].to_numpy() for label in "ab")
    np.testing.assert_array_equal(a, b)
    alone = smlm.compare({"b": tiny()}, *loaders, (MOVIE, TRUTH), epochs=2, minutes=minutes, **quiet)
    np.testing.assert_array_equal(alone.history[["train", "valid"]].to_numpy(), b)
    for generator, state in zip(loader_generators(loaders[0]), before): assert generator.get_state().equal(state)
    assert before


def test_timing_an_epoch_leaves_no_trace():
    "Neither on the network, its batch statistics and its mode, nor on the data, nor on the random numbers."
    (train, valid), network = streams(upscale=4), tiny().train()
    torch.manual_seed(0)
    random, before = torch.get_rng_state(), {name: value.clone() for name, value in network.state_dict().items()}
    assert epochs_in(1e-9, network, train, valid, torch.nn.functional.mse_loss, "cpu") == 1
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items()) and network.training
    assert all(weight.grad is None for weight in network.parameters()) and network.normalise is None
    assert train.epoch == valid.epoch == 0 and torch.equal(torch.get_rng_state(), random)


def test_a_movie_is_judged_by_the_pixel_size_of_its_file(opened):
    model = smlm.from_pretrained("fidstorm")
    as_array, from_file = judge(model, MOVIE, TRUTH, device="cpu"), judge(model, opened, scaled(0.8), device="cpu")
    said = judge(model, MOVIE, scaled(0.8), device="cpu", pixel_nm=80)
    a, b, c = (score_groups(verdict, np.ones(len(verdict.counts))) for verdict in (as_array, from_file, said))
    assert a["jaccard"] > 0.9 and b["jaccard"] > 0.9
    np.testing.assert_allclose(b["rmse_nm"]/a["rmse_nm"], 0.8, rtol=0.05)
    assert b == c
    np.testing.assert_allclose(from_file.truth, as_array.truth)


def test_a_contest_refuses_movies_of_other_pixels(opened):
    given = {"trained": {"fid": "fidstorm"}, **quiet}
    with pytest.raises(ValueError, match="the movie has pixels of 80 nm, and the networks are for pixels of 100 nm"):
        smlm.compare([], *streams(), (opened, scaled(0.8)), **given)
    with pytest.raises(ValueError, match="the movie has pixels of 80 nm"):
        smlm.compare([], *streams(), (MOVIE, TRUTH), (opened, scaled(0.8)), **given)
    matched = smlm.open_movie(opened.path, pixel_nm=80.4)
    own, network = streams(camera=smlm.Camera(80), upscale=4), {"mine": tiny()}
    contest = smlm.compare(network, *own, (matched, scaled(0.8)), epochs=1, **quiet)
    assert contest.table.loc["mine", "epochs"] == 1
    matched.close()


@pytest.mark.parametrize(("movie", "table", "message"), [
    (MOVIE[:20], TRUTH, "the movie has only 20 frames"), (MOVIE[:, :16], TRUTH, "outside the field"),
    (MOVIE, scaled(0.01), "If they count camera pixels, multiply them by 100"),
    (MOVIE, TRUTH.drop(columns="x_nm"), "no column x_nm")])
def test_a_table_that_is_not_of_the_movie_is_refused(movie, table, message):
    model = smlm.from_pretrained("fidstorm")
    with pytest.raises(ValueError, match=message): judge(model, movie, table, device="cpu")
    for pairs in (((movie, table), None), ((MOVIE, TRUTH), (movie, table))):
        with pytest.raises(ValueError, match=message):
            smlm.compare([], *streams(), *pairs, trained={"fid": model}, **quiet)


def test_an_atlas_is_drawn_in_the_pixels_of_its_camera():
    "The same light on pixels of 160 nm: as good a map, and errors as much larger as the pixels."
    model, maps = smlm.from_pretrained("fidstorm"), []
    for pixel_nm in (100, 160):
        maps.append(smlm.map_scores({"fid": model}, [(100/pixel_nm)**2], [2000.], frames=16, device="cpu",
                                    camera=smlm.Camera(pixel_nm), psf=smlm.GaussianPSF(1.1*pixel_nm)).iloc[0])
    assert maps[1]["jaccard"] > 0.9
    np.testing.assert_allclose(maps[1]["rmse_nm"]/maps[0]["rmse_nm"], 1.6, rtol=0.1)


def test_a_long_movie_is_judged_in_its_file(opened, monkeypatch):
    reads, take = [], Movie.__getitem__
    def watched(movie, key):
        frames = take(movie, key)
        reads.append(len(frames) if frames.ndim == 3 else 1)
        return frames
    monkeypatch.setattr(Movie, "__getitem__", watched)
    model = smlm.from_pretrained("fidstorm")
    from_file = judge(model, opened, scaled(0.8), device="cpu")
    assert 0 < max(reads) < len(MOVIE)
    in_memory = judge(model, opened[:], scaled(0.8), device="cpu")
    np.testing.assert_array_equal(from_file.counts, in_memory.counts)
    np.testing.assert_array_equal(from_file.images, in_memory.images)
