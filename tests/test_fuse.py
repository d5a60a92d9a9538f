"The fused network is the same function: every network, every upscale, every size, borders included."
import copy
import sys

import pytest
import torch
from torch import nn

from dl4smlm.bundle import from_pretrained
from dl4smlm.camera import Camera
from dl4smlm.fuse import FusedNet, count_work, export_onnx, fuse
from dl4smlm.layers import conv_bn_act, up_nearest
from dl4smlm.models.contract import CHECKS, UPSCALES, EmitterNet, random_statistics
from dl4smlm.models.zoo import create_model, list_models
from dl4smlm.rewrite import Bands
from dl4smlm.shelf import shipped_models
from dl4smlm.simulate import simulate

SIZES = [(8, 8), (9, 13), (17, 11), (1, 32)]  # the last one is refused by both


def ready(name, upscale, seed=0):
    "A network with statistics as if it had been trained."
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return random_statistics(create_model(name, upscale), seed).eval()


def frames(count, height, width, seed=0):
    return torch.randn(count, 1, height, width, generator=torch.Generator().manual_seed(seed))


def apart(got, expected):
    "Largest difference as a share of the largest value."
    return ((got - expected).abs().max()/expected.abs().max()).item()


@pytest.mark.parametrize("upscale", UPSCALES)
@pytest.mark.parametrize("name", list_models())
@torch.inference_mode()
def test_same_answer_in_single_precision(name, upscale):
    model = ready(name, upscale)
    fused = fuse(model)
    for height, width in SIZES[:2 if upscale == 16 else 3]:
        x = frames(2, height, width)
        assert apart(fused(x), model(x)) < 1e-5


@pytest.mark.parametrize("name", list_models())
@torch.inference_mode()
def test_same_answer_to_all_digits(name):
    "What is left in double precision is the order of the sums: nothing was approximated."
    for upscale in (4, 8):
        model, x = ready(name, upscale).double(), frames(1, 9, 10).double()
        assert apart(fuse(model)(x), model(x)) < 1e-12


@pytest.mark.parametrize("name", list_models())
@torch.inference_mode()
def test_borders_are_exact(name):
    "The outermost pixels of the answer on their own, where padding could go wrong unnoticed."
    model, x = ready(name, 8).double(), frames(1, 8, 9).double()
    got, expected = fuse(model)(x)[0, 0], model(x)[0, 0]
    for edge in [(slice(0, 2),), (slice(-2, None),), (slice(None), slice(0, 2)), (slice(None), slice(-2, None))]:
        assert apart(got[edge], expected[edge]) < 1e-11


class Twice(EmitterNet):
    "Two convolutions, or one that is used twice."
    def __init__(self, shared):
        super().__init__(2, reach_px=8)
        self.up, self.act = up_nearest(), nn.LeakyReLU()
        self.first, self.again, self.last = (nn.Conv2d(a, b, 3, padding=1) for a, b in [(1, 32), (32, 32), (32, 1)])
        self.twin = self.again if shared else copy.deepcopy(self.again)

    def forward(self, x): return self.act(self.last(self.act(self.twin(self.act(self.again(self.first(self.up(x))))))))


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_a_layer_that_is_used_twice(dtype):
    shared, x = Twice(True).eval(), frames(2, 12, 12)
    two = Twice(False).eval()
    two.load_state_dict(shared.state_dict())
    assert torch.equal(fuse(shared, dtype)(x), fuse(two, dtype)(x))
    assert apart(fuse(shared, dtype)(x), shared(x)) < (0.02 if dtype else 1e-5)


@pytest.mark.parametrize("upscale", UPSCALES)
@pytest.mark.parametrize("name", list_models())
@torch.inference_mode()
def test_half_the_digits(name, upscale):
    "The worst pixel is off by less than 1 % of the largest value, for weights and statistics drawn at random."
    for seed in range(3):
        model, x = ready(name, upscale, seed), frames(1, 12, 13, seed)
        got, expected = fuse(model, torch.bfloat16)(x), model(x)
        assert got.dtype == torch.float32
        assert apart(got, expected) < 0.01
        assert ((got - expected).norm()/expected.norm()).item() < 0.01
        assert ((got - expected).square().mean().sqrt()/expected.abs().max()).item() < 0.003


@pytest.mark.parametrize("name", shipped_models())
@torch.inference_mode()
def test_half_the_digits_of_the_networks_that_come_along(name):
    "For trained weights: the norm of the error in every movie, and the worst pixel of a movie on average."
    model, worst = from_pretrained(name).eval(), []
    fused, camera = fuse(model, torch.bfloat16), Camera(pixel_nm=model.pixel_nm)
    for seed in range(3):
        movie, _ = simulate(frames=4, density=1, size_px=32, camera=camera, seed=seed)
        x = model.normalise(torch.from_numpy(movie.astype("float32")))[:, None]
        got, expected = fused(x), model(x)
        assert ((got - expected).norm()/expected.norm()).item() < 0.01
        worst.append(apart(got, expected))
    assert sum(worst)/len(worst) < 0.01, worst  # the worst of all is close to 1 %, and differs with the processor


@torch.inference_mode()
def test_exact_biases_keep_the_light(monkeypatch):
    model = from_pretrained("fidstorm").eval()
    movie, _ = simulate(frames=64, density=1, size_px=32, camera=Camera(pixel_nm=model.pixel_nm), seed=0)
    x = model.normalise(torch.from_numpy(movie.astype("float32")))[:, None]
    exact = fuse(model, torch.bfloat16)(x) - model(x)
    monkeypatch.setattr(sys.modules["dl4smlm.fuse"], "_exact_biases", lambda net, dtype: None)
    rounded = fuse(model, torch.bfloat16)(x) - model(x)
    assert exact.sum().abs() < 0.6*rounded.sum().abs()  # no average takes away what is the same in every pixel
    assert 0.8 < exact.norm()/rounded.norm() < 0.9


@pytest.mark.parametrize("name", ["deepstorm", "ustorm", "drlstorm"])
@torch.inference_mode()
def test_a_dark_frame_keeps_its_digits(name):
    "What is stored is the difference from a dark frame, so far from the border a dark frame has hardly an error."
    model = ready(name, 4)
    x = torch.zeros(1, 1, *[2*(model.reach_px + model.period_px) + 9]*2)
    got, expected = fuse(model, torch.bfloat16)(x), model(x)
    middle = expected.shape[-1]//2
    assert (got - expected)[..., middle, middle].abs().item() < 2e-4*expected.abs().max()


@pytest.mark.parametrize("upscale", UPSCALES)
@pytest.mark.parametrize("name", list_models())
def test_never_more_work(name, upscale):
    "SRCNN answers in blocks, with products by zero that cost less time than they save."
    model = create_model(name, upscale)
    assert count_work(fuse(model), 16) <= count_work(model, 16)*(1.2 if name == "srcnn" else 1)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("name", list_models())
@torch.inference_mode()
def test_bands_have_no_seams(name, dtype, monkeypatch):
    for upscale in (2, 8):
        model, x = ready(name, upscale), frames(2, 11, 9)
        if dtype is None: model, x = model.double(), x.double()
        fused = fuse(model, dtype)
        whole = fused(x)
        for layer in fused.modules():
            if isinstance(layer, Bands): monkeypatch.setattr(layer, "limit", 2**12)
        assert apart(fused(x), whole) < (1e-12 if dtype is None else 1e-2)


@pytest.mark.parametrize("name", ["deepstorm", "skipstorm", "ustorm", "drlstorm", "srcnn"])
def test_bands_are_found(name):
    assert any(isinstance(layer, Bands) for layer in fuse(create_model(name, 8)).modules())


@pytest.mark.parametrize("name", list_models())
def test_keeps_what_the_contract_promises(name):
    model = ready(name, 4)
    model.pixel_nm, model.normalise, model.threshold, model.calibration = 107., object(), 0.3, {"a": 1}
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fused = fuse(model.train())
    assert model.training and not fused.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    for promise in ("upscale", "reach_px", "period_px", "pixel_nm", "normalise", "config", "threshold", "calibration"):
        assert getattr(fused, promise) is getattr(model, promise) or getattr(fused, promise) == getattr(model, promise)
    assert not any(p.requires_grad for p in fused.parameters())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fused.modules())
    for shape in [(1, 1, 7, 8), (1, 2, 8, 8), (8, 8), (1, 1, *SIZES[-1])]:
        with pytest.raises(ValueError, match="at least 8"): fused(torch.zeros(shape))


def test_a_movie_with_broken_pixels_stays_broken_there():
    "A NaN spreads as far as in the original, no further."
    model, x = ready("deepstorm", 8), frames(1, 12, 12)
    x[0, 0, 6, 6] = torch.nan
    with torch.inference_mode(): assert torch.equal(fuse(model)(x).isnan(), model(x).isnan())


class Odd(EmitterNet):
    "Everything a rewriting could fall over: shared layers, skips, other activations, bias, 5 x 5, no normalisation."
    def __init__(self, upscale=4):
        super().__init__(upscale, reach_px=8)
        self.enlarge, self.up, self.pool = up_nearest(upscale), up_nearest(), nn.MaxPool2d(2)
        self.first = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU())
        self.shared = conv_bn_act(6, 6)
        self.round = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(6), nn.GELU())
        self.wide = nn.Conv2d(12, 6, 3, padding=1)
        self.head = nn.Conv2d(7, 1, 3, padding=1)

    def forward(self, x):
        fine = self.enlarge(self.check_input(x))
        kept = self.first(fine)
        small = self.shared(self.shared(self.pool(kept)))
        small = self.pool(self.round(small)) + self.pool(small)
        wide = self.wide(torch.cat((self.up(self.up(small)), kept), dim=1))
        return self.head(torch.cat([wide, fine], 1)) + kept.mean(1, keepdim=True)


@pytest.mark.parametrize("upscale", UPSCALES[1:])
@torch.inference_mode()
def test_a_network_nobody_thought_of(upscale):
    torch.manual_seed(0)
    model, x = random_statistics(Odd(upscale)).double().eval(), frames(2, 9, 13).double()
    fused = fuse(model)
    for _ in range(2): assert apart(fused(x), model(x)) < 1e-12  # twice: nothing is overwritten that is needed again
    assert count_work(fused, 16) < count_work(model, 16)


def conv(channels_in, channels_out, size=3, **options):
    return nn.Conv2d(channels_in, channels_out, size, **options or {"padding": size//2})


def enlarge(**options): return nn.ConvTranspose2d(32, 32, **{"kernel_size": 4, "stride": 2, "padding": 1} | options)


OTHERS = {  # layers in the middle of a network that look like those of the book, and are not
    "dilated": lambda: [up_nearest(4), *(conv(32, 32, padding=6, dilation=6) for _ in range(2))],
    "groups": lambda: [up_nearest(4), conv(32, 32, padding=1, groups=4)],
    "mirrored": lambda: [up_nearest(4), conv(32, 32, padding=1, padding_mode="reflect")],
    "same": lambda: [up_nearest(4), conv(32, 32, padding="same")],
    "oblong": lambda: [up_nearest(4), conv(32, 32, (5, 3), padding=(2, 1))],
    "stride": lambda: [up_nearest(4), conv(32, 32, padding=1, stride=2), up_nearest(2)],
    "merged": lambda: [up_nearest(2), conv(32, 32), up_nearest(2), conv(32, 32)],
    "transposed": lambda: [up_nearest(2), enlarge()],
    "transposed, 6 x 6": lambda: [up_nearest(2), enlarge(kernel_size=6, padding=2)],
    "transposed, groups": lambda: [up_nearest(2), enlarge(groups=2)],
    "transposed, dilated": lambda: [up_nearest(2), enlarge(padding=3, dilation=2, output_padding=1)],
}


class Other(EmitterNet):
    "Convolutions and some other layers between them."
    def __init__(self, middle, act, **first):
        super().__init__(4, reach_px=8)
        layers = [conv(1, 32, **first), *middle(), conv(32, 32), conv(32, 1)]
        pairs = ([layer] if isinstance(layer, nn.Upsample) else [layer, act()] for layer in layers)
        self.body = nn.Sequential(*(step for pair in pairs for step in pair))[:-1]

    def forward(self, x): return self.body(x)


@pytest.mark.parametrize("act", [nn.ReLU, nn.LeakyReLU])
@pytest.mark.parametrize("kind", OTHERS)
@torch.inference_mode()
def test_layers_that_only_look_alike(kind, act, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(Bands, "limit", 2**12)
    model, x = Other(OTHERS[kind], act).eval(), frames(2, 24, 22)
    for way, most in [({}, 1e-5), ({"dtype": torch.bfloat16}, 0.03), ({"dtype": torch.float16}, 0.003)]:
        assert apart(fuse(model, **way)(x), model(x)) < most, way
    assert apart(fuse(model, compiled=True).body.forward(x), model(x)) < 1e-5


class SelfAttention(nn.Module):
    "Narrow queries and keys, which keep all digits, and wide values, which do not."
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = conv(32, 4, 1), conv(32, 4, 1), conv(32, 32, 1)

    def forward(self, x):
        near = torch.bmm(self.query(x).flatten(2).mT, self.key(x).flatten(2)).softmax(-1)
        return x + torch.bmm(self.value(x).flatten(2), near.mT).view_as(x)


class ChannelAttention(nn.Module):
    "Linear layers, and weights that belong to no layer."
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(32, 4), nn.Linear(4, 32)
        self.slope, self.kernel = nn.Parameter(torch.rand(32)), nn.Parameter(torch.randn(32, 32, 3, 3)/17)

    def forward(self, x):
        gate = self.last(self.first(x.mean((2, 3))).relu()).sigmoid()
        return nn.functional.conv2d(nn.functional.prelu(x, self.slope), self.kernel, padding=1)*gate[..., None, None]


class Fourier(nn.Module):
    "A function that torch does not have for few digits, and sums in place of two precisions."
    def __init__(self):
        super().__init__()
        self.narrow, self.wide = conv(32, 8), conv(8, 32)

    def forward(self, x):
        kept = torch.fft.irfft2(torch.fft.rfft2(x), s=x.shape[2:])
        x += self.wide(input=self.narrow(x))
        return x + kept


STRANGERS = {"prelu": nn.PReLU, "norm": lambda: nn.Sequential(nn.GELU(), nn.BatchNorm2d(32)), "fourier": Fourier,
             "groups": lambda: nn.GroupNorm(4, 32), "attention": SelfAttention, "channels": ChannelAttention}


@pytest.mark.parametrize("kind", STRANGERS)
@torch.inference_mode()
def test_layers_that_no_step_knows(kind):
    "They are computed right in every precision, also as the last layer."
    torch.manual_seed(0)
    model, x = random_statistics(Other(lambda: [up_nearest(4), STRANGERS[kind]()], nn.PReLU)).eval(), frames(2, 9, 13)
    model.body.append(nn.PReLU())
    for dtype, most in [(None, 1e-5), (torch.bfloat16, 0.01), (torch.float16, 0.003)]:
        assert apart(fuse(model, dtype)(x), model(x)) < most, dtype
        assert apart(fuse(model, dtype, compiled=True).body.forward(x), model(x)) < most, dtype


@pytest.mark.parametrize("write", [lambda net, x: torch.stack([net(x[i:i + 1])[0] for i in range(x.shape[0])]),
                                   lambda net, x: net(x)*float(x.mean()), lambda net, x: net(x)*len(x),
                                   lambda net, x: net(x) + torch.zeros(x.shape[0], 1, 1, 1)])
def test_a_forward_that_cannot_be_noted_down(write):
    "It is refused in words, so that reconstruct can fall back on the network itself."
    class Own(Twice):
        def forward(self, x): return write(super().forward, x)
    with pytest.raises(ValueError, match="cannot fuse Own: .*Use the network itself"): fuse(Own(True))


@pytest.mark.parametrize("first", [{"padding": "same"}, {"padding": 2, "dilation": 2},
                                   {"padding": 1, "padding_mode": "reflect"}])
@torch.inference_mode()
def test_first_layers_for_a_compiler(first):
    torch.manual_seed(0)
    model, x = Other(OTHERS["merged"], nn.ReLU, **first).eval(), frames(1, 9, 13)
    assert apart(fuse(model, compiled=True).body.forward(x), model(x)) < 1e-5


@pytest.mark.parametrize("name", list_models())
def test_fused_network_passes_the_contract(name):
    def make(upscale): return fuse(create_model(name, upscale))
    for check in ("sizes", "door", "corners", "batch", "reach", "shift"): CHECKS[check](make, 8)


@pytest.mark.parametrize("name", list_models())
def test_onnx_runs_elsewhere(name, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model = ready(name, 8)
    path = export_onnx(model, tmp_path/"network.onnx")
    with pytest.raises(ValueError, match="exists already"): export_onnx(model, path)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for size in [(3, 9, 13), (1, 24, 16)]:
        x = frames(*size)
        with torch.inference_mode(): expected = model(x)
        got = torch.from_numpy(session.run(["density"], {"frames": x.numpy()})[0])
        assert got.shape == expected.shape and apart(got, expected) < 1e-5
    assert [file.name for file in tmp_path.iterdir()] == ["network.onnx"]


def test_fused_stays_fused():
    fused = fuse(create_model("fidstorm", 2))
    assert isinstance(fused, FusedNet) and fuse(fused) is fused


@pytest.mark.parametrize("name, expected", [("fidstorm", [torch.float32]*2), ("deepstorm", [torch.bfloat16]*3)])
def test_which_enlargements_keep_all_digits(name, expected):
    fused = fuse(create_model(name, 8), torch.bfloat16)
    assert [layer.weight.dtype for layer in fused.modules() if isinstance(layer, nn.ConvTranspose2d)] == expected
