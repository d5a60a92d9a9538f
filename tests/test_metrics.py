"The image measures against numpy and scikit-image, on random images of odd shapes."
import numpy as np
import pytest
from skimage import metrics as skimage_metrics

from dl4smlm.metrics import image_scores, nmse, pearson, psnr, ssim


@pytest.mark.parametrize("shape", [(11, 11), (40, 27), (64, 64)])
@pytest.mark.parametrize("seed", range(3))
def test_libraries_agree(shape, seed):
    image, truth = np.random.default_rng(seed).random((2, *shape))
    assert psnr(image, truth) == pytest.approx(
        skimage_metrics.peak_signal_noise_ratio(truth, image, data_range=truth.max()))
    assert ssim(image, truth) == pytest.approx(skimage_metrics.structural_similarity(
        truth, image, data_range=truth.max(), gaussian_weights=True, sigma=1.5, use_sample_covariance=False))
    assert nmse(image, truth) == pytest.approx(
        100*skimage_metrics.normalized_root_mse(truth, image, normalization="euclidean")**2)
    assert pearson(image, truth) == pytest.approx(np.corrcoef(image.ravel(), truth.ravel())[0, 1])


def test_no_factor_beats_the_free_scale():
    image, truth = np.random.default_rng(0).random((2, 30, 30))
    free = nmse(image, truth, scale_free=True)
    tried = [nmse(factor*image, truth) for factor in np.linspace(0, 2, 401)]
    assert free <= min(tried) and free == pytest.approx(min(tried), rel=1e-3)


def test_every_score_has_its_baselines():
    truth = np.zeros((32, 48))
    truth[8, 9] = truth[20, 40] = 1
    scores = image_scores(truth, truth, truth.reshape(16, 2, 24, 2).sum((1, 3)))
    names = ["nmse", "nmse_free", "ssim", "psnr", "pearson"]
    assert list(scores) == [name + whose for whose in ("", "_empty", "_widefield") for name in names]
    assert scores["nmse_empty"] == 100 and scores["ssim_empty"] > 0.8
    assert scores["nmse"] < scores["nmse_widefield"] < 100
