"A training that is stopped or killed, at any moment and while it writes, goes on and ends with the same weights."
import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest

import dl4smlm as smlm
from dl4smlm.compare import _Clock

from project import ROOT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are made with fork here")

COMMON = textwrap.dedent("""
    import hashlib, os, random, shutil, signal, sys, time
    from pathlib import Path

    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    from dl4smlm.core import make_generator, set_seed
    from dl4smlm.learner import Learner

    torch.set_num_threads(1)
    folder = Path(sys.argv[1])

    def train(name):
        "Train with all that has a state: dropout, batch normalisation, shuffling, accumulation, an average."
        set_seed(0)
        x, y = torch.randn(96, 1, 12, 12), torch.rand(96, 1, 12, 12)
        net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1),
                            nn.Conv2d(8, 1, 3, padding=1))
        loader = DataLoader(TensorDataset(x[:80], y[:80]), batch_size=8, shuffle=True, generator=make_generator(1))
        learner = Learner(net, loader, [(x[80:], y[80:])], nn.functional.mse_loss, lr=1e-2, device="cpu",
                          accumulate=3, average=0.9, clip=1.)
        learner.fit(8, progress=False, folder=folder/name, resume=True)
        weights = b"".join(value.numpy().tobytes() for value in net.state_dict().values())
        (folder/f"{name}.txt").write_text(hashlib.sha256(weights).hexdigest() + learner.history.to_json())

    def attempt(name, wait=None, before=lambda: None):
        "Train in a process of its own, killed after `wait` seconds; return whether it came to its end."
        child = os.fork()
        if not child:
            before()
            train(name)
            os._exit(0)
        if wait is not None:
            time.sleep(wait)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        return status == 0

    assert attempt("calm")
""")

AT_RANDOM = COMMON + textwrap.dedent("""
    start = time.perf_counter()
    assert attempt("timed")
    whole = time.perf_counter() - start
    killed = 0
    random.seed(int(sys.argv[2]))
    while not attempt("struck", wait=random.uniform(0, 0.8*whole)):
        killed += 1
        if killed > 12: assert attempt("struck"); break
    assert killed, "it was never killed"
    print(killed, len(list((folder/"struck").glob(".*"))))
    assert (folder/"struck.txt").read_text() == (folder/"calm.txt").read_text()
""")

WHILE_WRITING = COMMON + textwrap.dedent("""
    from dl4smlm import checkpoint, core

    def die(*arguments, **more): os.kill(os.getpid(), signal.SIGKILL)

    def half(number):
        "Write half of checkpoint `number` of this process, then die."
        def before():
            save, left = torch.save, iter(range(number))
            def some(state, file):
                if next(left, None) is not None: return save(state, file)
                save(state, part := __import__("io").BytesIO())
                file.write(part.getvalue()[:len(part.getvalue())//2]); file.flush(); os.fsync(file.fileno())
                die()
            torch.save = some
        return before

    def unmoved():
        "Die when the first checkpoint is whole, and before it takes its place."
        os.replace = die

    for number in (0, 1, 2): assert not attempt("struck", before=half(number))
    assert list((folder/"struck").glob(".*-last.pt")), "nothing was left half-written"
    assert not attempt("struck", before=unmoved)
    assert attempt("struck")
    assert not list((folder/"struck").glob(".*-last.pt")), "the leftovers are still there"
    assert (folder/"struck.txt").read_text() == (folder/"calm.txt").read_text()
""")

ODD_DRIVE = COMMON + textwrap.dedent("""
    import errno, json, warnings
    from dl4smlm import core

    replace, calls = os.replace, []

    def refuse(*arguments, **more): raise AssertionError("a checkpoint needs no links and no copies")

    def flaky(old, new):
        "Stay within the folder; fail at the third and fourth time."
        assert Path(old).parent == Path(new).parent == folder/"odd", (old, new)
        calls.append(Path(new).name)
        if len(calls) in (3, 4): raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        replace(old, new)

    def no_sync(number): raise OSError(errno.EINVAL, "Invalid argument")

    os.link = os.symlink = shutil.copy = shutil.move = refuse
    os.replace, os.fsync = flaky, no_sync
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        train("odd")
    words = [str(warning.message) for warning in said if "no checkpoint" in str(warning.message)]
    assert [word.split(" (")[0][-7:] for word in words] == ["epoch 2", "epoch 3"], words
    assert all("not connected" in word for word in words)
    left = sorted(path.name for path in (folder/"odd").iterdir())
    assert left == ["best.safetensors", "last.pt"], left
    assert (folder/"odd.txt").read_text() == (folder/"calm.txt").read_text()
    from safetensors.torch import load_file
    state = torch.load(folder/"odd"/"last.pt", weights_only=True)
    best = load_file(folder/"odd"/"best.safetensors")
    assert len(state["history"]["valid"]) == 8
    assert all(torch.equal(best[name], value) for name, value in state["notes"]["best_weights"].items())

    def full(old, new): raise OSError(errno.ENOSPC, "No space left on device")
    os.replace = full
    try: train("full")
    except OSError as error: assert error.errno == errno.ENOSPC
    else: raise AssertionError("a drive that never worked must be told of at once")
""")


def run(script, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], env=environment, capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


MAIN = "from dl4smlm.cli.commands import main; main()"


def command(*arguments, before="", **more):
    "The command line `dl4smlm ARGUMENTS`, after some Python, for a process."
    line = [sys.executable, "-c", before + MAIN, *map(str, arguments)]
    variables = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    return {"args": line, "env": os.environ | variables, "stderr": subprocess.PIPE, "text": True} | more


def as_in_a_terminal():
    "Let Ctrl-C through: what a shell starts in the background is told to ignore it, and so are these tests at times."
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def begin_epoch(state, process):
    "Wait until a process has written the checkpoint of one epoch more, and is in the next."
    before = state.stat().st_mtime_ns if state.exists() else None
    while not state.exists() or state.stat().st_mtime_ns == before:
        assert process.poll() is None, "it was through too soon: " + process.stderr.read()
        time.sleep(0.005)


def stop(number, state, **process):
    "Send a signal after an epoch; return the exit status, and what was complained about."
    with subprocess.Popen(**process, preexec_fn=as_in_a_terminal) as struck:
        begin_epoch(state, struck)
        struck.send_signal(number)
        _, complaint = struck.communicate(timeout=100)
    return struck.returncode, complaint


@pytest.fixture(scope="module")
def teach(tmp_path_factory):
    "The command that trains on a small film, without the folder for the result."
    film = tmp_path_factory.mktemp("film")
    subprocess.run(**command("simulate", "--out", film, "--frames", 20, "--size-px", 16), check=True)
    return ["train", "--movie", film / "movie.tif", "--truth", film / "truth.csv", "--upscale", 2, "--epochs", 15,
            "--out"]


@pytest.fixture(scope="module")
def calm(teach, tmp_path_factory):
    "The weights, in a file, of a training that nothing happened to."
    folder = tmp_path_factory.mktemp("calm") / "calm"
    subprocess.run(**command(*teach, folder), check=True)
    return (folder / "weights.safetensors").read_bytes()


def test_the_command_goes_on_after_a_kill(teach, calm, tmp_path):
    struck = subprocess.Popen(**command(*teach, tmp_path / "struck", stderr=None))
    state = tmp_path / "struck-unfinished" / "last.pt"
    while not state.exists() and struck.poll() is None: time.sleep(0.01)
    struck.kill()
    assert struck.wait() != 0, "it was through before it could be killed"
    subprocess.run(**command(*teach, tmp_path / "struck", "--resume"), check=True)
    assert (tmp_path / "struck" / "weights.safetensors").read_bytes() == calm
    assert not state.parent.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_stopped_has_no_result_and_goes_on(teach, calm, tmp_path, number):
    "The first time after an epoch, the second time when it has gone on and made one more."
    line, state = [*teach, tmp_path / "struck"], tmp_path / "struck-unfinished" / "last.pt"
    for again in ([], ["--resume"]):
        status, complaint = stop(number, state, **command(*line, *again))
        said = re.fullmatch(r"dl4smlm: stopped: epoch (\d+) of 15 is done and kept in (.*): the same command with "
                            r"--resume goes on\n", complaint)
        assert status == 130 and said and said[2] == str(state.parent), complaint
        assert int(said[1]) > len(again)
        assert [path.name for path in tmp_path.iterdir()] == ["struck-unfinished"]
    subprocess.run(**command(*line, "--resume"), check=True)
    assert (tmp_path / "struck" / "weights.safetensors").read_bytes() == calm
    assert [path.name for path in tmp_path.iterdir()] == ["struck"]


def test_a_recipe_that_is_stopped_has_no_result(tmp_path):
    "Epochs of two steps, so that the second one comes soon."
    state, short = tmp_path / "out-unfinished" / "last.pt", "from dl4smlm import recipes; recipes.STEPS_PER_EPOCH = 2; "
    small = ["--steps", 80, "--batch", 8, "--upscale", 2, "--option", "blocks=1", "--option", "width=4"]
    line = ["recipe", *small, "--out", tmp_path / "out"]
    status, complaint = stop(signal.SIGTERM, state, **command(*line, before=short))
    assert status == 130 and "of 40 is done and kept in" in complaint, complaint
    assert [path.name for path in tmp_path.iterdir()] == ["out-unfinished"] and state.exists()


def test_a_demo_whose_training_is_stopped_writes_nothing(tmp_path, monkeypatch):
    from dl4smlm import demo

    class Pressed(demo.L1L2Loss):
        left = 6  # batches until Ctrl-C, of four in an epoch

        def forward(self, prediction, target):
            self.left -= 1
            if self.left < 0: raise KeyboardInterrupt
            return super().forward(prediction, target)

    monkeypatch.setattr(demo, "L1L2Loss", Pressed)
    half = demo.train_small(frames=64, epochs=3, device="cpu", progress=False)
    assert half.interrupted and half.best_epoch == 1
    with pytest.raises(KeyboardInterrupt):
        demo.run_demo(tmp_path / "demo", train=True, frames=2, train_frames=64, epochs=3, device="cpu", progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("left", ["best.safetensors", ".01234567-best.safetensors", ".01234567-last.pt"])
def test_a_run_killed_in_its_first_checkpoint_begins_anew(tmp_path, left):
    "What a run writes before its first `last.pt` is there is not taken for somebody else's."
    from dl4smlm.cli.train import _keep_run

    folder = tmp_path / "out-unfinished"
    folder.mkdir()
    for name in ("settings.json", left): (folder / name).write_text("{}")
    with _keep_run(tmp_path / "out", {}, False) as kept: assert kept == folder
    assert not folder.exists()


def test_killed_at_random_moments(tmp_path): print(run(AT_RANDOM, tmp_path, 0))


def test_killed_while_a_checkpoint_is_written(tmp_path): run(WHILE_WRITING, tmp_path)


def test_a_drive_that_is_odd(tmp_path):
    """No links, nothing moved between folders, no pushing to the disk, and two epochs in which nothing can be written:
    the run warns, and ends as it should. A drive that fails from the beginning ends it."""
    run(ODD_DRIVE, tmp_path)


def test_the_time_that_remains_is_told_after_a_resume(tmp_path, monkeypatch):
    "Twenty batches of 0.05 s, of which eighteen were made before: the bar must not take those for speed."
    from torch import nn, ones
    from tqdm.auto import tqdm

    from dl4smlm import learner as module
    from dl4smlm.learner import Callback, Learner

    seen = []

    class Bar(tqdm):
        def update(self, n=1):
            super().update(n)
            seen.append(dict(self.format_dict))

    class Slow(Callback):
        def __init__(self, last): self.last = last

        def after_epoch(self, learner):
            if len(learner.history) == self.last: raise SystemExit

        def after_step(self, learner): time.sleep(0.05)

    def fit(last):
        batch = [(ones(1, 1, 8, 8), ones(1, 1, 8, 8))]
        net, loss = nn.Conv2d(1, 1, 1), nn.functional.mse_loss
        learner = Learner(net, batch, list(batch), loss, device="cpu", callbacks=[Slow(last)])
        return learner.fit(20, folder=tmp_path, resume=True)

    with pytest.raises(SystemExit): fit(19)
    monkeypatch.setattr(module, "tqdm", Bar)
    assert len(fit(None)) == 20
    last = seen[-1]
    assert (last["total"], last["n"], last["initial"]) == (20, 20, 18)
    assert (last["n"] - last["initial"] - 1)/last["elapsed"] < 20 and (last["rate"] or 0) < 40  # the last: no pause yet


def stopped_compare(tmp_path, monkeypatch, loaders, movie):
    monkeypatch.setattr(_Clock, "after_epoch", Stop.after_epoch)
    smlm.compare(["srcnn", "fidstorm"], *loaders, movie, upscale=2, epochs=2, device="cpu", progress=False)


def stopped_distill(tmp_path, monkeypatch, loaders, movie):
    student, teacher = (smlm.create_model("fidstorm", 2, blocks=1, width=4) for _ in range(2))
    smlm.distill(student, teacher, *loaders, 2, ("chain.0", "chain.0"), eta=1., callbacks=[Stop()], device="cpu",
                 progress=False)


def stopped_recipe(tmp_path, monkeypatch, loaders, movie):
    smlm.train_recipe("srcnn", tmp_path/"net", 2, 2, device="cpu", progress=False, callbacks=[Stop()], batch_size=8)


class Stop(smlm.Callback):
    "Somebody who presses Ctrl-C at the end of an epoch."
    def after_epoch(self, learner): raise KeyboardInterrupt


@pytest.mark.parametrize("begin", [stopped_compare, stopped_distill, stopped_recipe])
def test_what_trains_in_several_steps_does_not_go_on_to_the_next(begin, tmp_path, monkeypatch):
    movie = smlm.simulate(24, 1, 16, smlm.Camera(), seed=0)
    loaders = smlm.make_loaders(*movie, smlm.Camera(), 2, patch_px=16, batch_size=4)
    with pytest.raises(KeyboardInterrupt): begin(tmp_path, monkeypatch, loaders, movie)
    assert not list(tmp_path.iterdir())
