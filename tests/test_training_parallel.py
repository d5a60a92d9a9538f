"Two processes with torchrun and gloo, with the script of one process: the same losses, and no sample twice."
import json
import os
import socket
import subprocess
import sys

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from project import ROOT

SCRIPT = """
import json, os, sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from dl4smlm.camera import Camera
from dl4smlm.core import make_generator, set_seed
from dl4smlm.learner import Learner
from dl4smlm.live import LiveSimulation
from dl4smlm.losses import L1L2Loss

torch.set_num_threads(1)
folder = Path(sys.argv[1])


class Watched(nn.Module):
    "A network that notes a fingerprint of each frame it learns from."
    def __init__(self, net): super().__init__(); self.net, self.seen = net, []

    def forward(self, x):
        if self.training: self.seen += x.double().sum((1, 2, 3)).tolist()
        return 0.02*self.net(x)


def network(norm):
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16) if norm else nn.Identity(), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(16, 16, 3, padding=1), nn.PixelShuffle(4))


def live(batches, seed, fresh): return LiveSimulation(
    Camera(pixel_nm=100), upscale=4, size_px=16, batches=batches, seed=seed, fresh=fresh, device="cpu")


def loader():
    x = torch.randn(51, 1, 16, 16, generator=make_generator(2))
    y = (torch.rand(51, 1, 64, 64, generator=make_generator(3)) < 0.01).float()
    return DataLoader(TensorDataset(x, y), batch_sampler=BatchSampler(Dated(x, generator=make_generator(4)), 10, False))


class Dated(RandomSampler):
    "A sampler that wants to know which epoch it is."
    epochs = ()
    def set_epoch(self, epoch): self.epochs += (epoch,)


def run(name, train, norm, **settings):
    if name not in os.environ["ONLY"].split(): return
    set_seed(0)
    model = Watched(network(norm))
    learner = Learner(model, train, live(2, 9, False), L1L2Loss(), lr=3e-3, device="cpu", **settings)
    history = learner.fit(3, progress=False, folder=folder/name, resume=True)
    weights = torch.cat([weight.detach().flatten() for weight in model.parameters()]).tolist()
    rank = learner.engine.process_index
    (folder/f"{name}-{rank}.json").write_text(json.dumps([history.to_dict("list"), weights, model.seen]))
    if name == "loader": assert train.batch_sampler.sampler.epochs == (0, 1, 2)


run("live", live(8, 1, True), norm=False)
run("norm", live(8, 1, True), norm=True, average=0.5)
run("loader", loader(), norm=False, accumulate=2)
"""


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
ACCELERATE = ["-m", "accelerate.commands.accelerate_cli", "launch", "--num_processes", "2", "--num_machines", "1",
              "--mixed_precision", "bf16", "--main_process_port", "0"]


def launch(folder, *launcher, processes=2, names=("live", "norm", "loader")):
    "Run the script, and return what each process wrote: {name: [[history, weights, seen], ...]}."
    folder.mkdir()
    (folder / "train.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ONLY": " ".join(names),
                                "ACCELERATE_CONFIG_FILE": str(folder / "none.yaml")}
    done = subprocess.run([sys.executable, *launcher, "train.py", "."], cwd=folder, env=environment, timeout=300,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: [json.loads((folder / f"{name}-{k}.json").read_text()) for k in range(processes)]
            for name in names}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parallel")
    return launch(folder / "one", processes=1), launch(folder / "two", *TORCHRUN)


@pytest.mark.parametrize("name, apart", [("live", 1e-4), ("loader", 0.02), ("norm", 0.1)])
def test_two_processes_reach_the_losses_of_one(runs, name, apart):
    """Without batch normalisation they differ by rounding. The loader's last batch has one patch, which two processes
    cannot share; and with batch normalisation each process sees the statistics of its own part."""
    (one, _, _), = runs[0][name]
    for two, _, _ in runs[1][name]:
        for part in ("train", "valid"): np.testing.assert_allclose(two[part], one[part], rtol=apart)
    if name != "loader": assert one["valid"][-1] < one["valid"][0]  # its data are noise


@pytest.mark.parametrize("name", ["live", "norm", "loader"])
def test_the_copies_stay_the_same(runs, name):
    (history, weights, _), (other_history, other_weights, _) = runs[1][name]
    assert history == other_history
    assert weights == other_weights


@pytest.mark.parametrize("name", ["live", "norm", "loader"])
def test_no_sample_is_seen_twice(runs, name):
    "Together, two processes see what one sees; on live simulation nothing ever comes again."
    (_, _, alone), = runs[0][name]
    first, second = (seen for _, _, seen in runs[1][name])
    assert len(first) == len(second)
    if name == "loader":
        for epoch in range(3):
            assert len(set(first[25*epoch:25*epoch + 25] + second[25*epoch:25*epoch + 25])) == 50
    else:
        assert len(set(first + second)) == len(first + second)
        assert sorted(first + second) == sorted(alone)


def test_accelerate_launch_does_what_torchrun_does(runs, tmp_path):
    "The same script, the same numbers; the precision it was told to use is not ours, and is put aside."
    two = launch(tmp_path / "two", *ACCELERATE, "--multi_gpu", names=["live"])
    assert two["live"] == runs[1]["live"]


def test_accelerate_launch_on_the_cpu_is_one_process(runs, tmp_path):
    "Without MPI it starts one, whatever number it is given; the script is none the worse for it."
    one = launch(tmp_path / "one", *ACCELERATE, "--cpu", processes=1, names=["live"])
    assert one["live"] == runs[0]["live"]
    assert not (tmp_path / "one" / "live-1.json").exists()


CELLS = ["""
import os, sys
sys.argv = ["train", "."]
from accelerate import notebook_launcher
def train(): exec(compile(open("train.py").read(), "train.py", "exec"), {"__name__": "train"})
""", "notebook_launcher(train, num_processes=2, use_port=PORT)"]


def test_the_launcher_of_a_notebook_does_too(runs, tmp_path, monkeypatch):
    "Two processes started from a cell, on the CPU."
    (tmp_path / "train.py").write_text(SCRIPT)
    for name, value in {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ONLY": "live"}.items():
        monkeypatch.setenv(name, value)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cells = [nbformat.v4.new_code_cell(cell.replace("PORT", repr(str(port)))) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    found = [json.loads((tmp_path / f"live-{k}.json").read_text()) for k in range(2)]
    assert found == runs[1]["live"]
