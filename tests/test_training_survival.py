"A training that is killed, at any moment and in the middle of writing, goes on and ends with the same weights."
import os
import subprocess
import sys
import textwrap
import time

import pytest

from project import ROOT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are made with fork here")

COMMON = textwrap.dedent("""
    import hashlib, os, random, signal, sys, time
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


def run(script, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], env=environment, capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def command(*arguments):
    "The command line `dl4smlm ARGUMENTS`, and the environment for it."
    line = [sys.executable, "-c", "from dl4smlm.cli import main; main()", *map(str, arguments)]
    return {"args": line, "env": os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}}


def test_the_command_goes_on_after_a_kill(tmp_path):
    subprocess.run(**command("simulate", "--out", tmp_path / "film", "--frames", 20, "--size-px", 16), check=True)
    train = ["train", "--movie", tmp_path / "film" / "movie.tif", "--truth", tmp_path / "film" / "truth.csv",
             "--upscale", 2, "--epochs", 15, "--out"]
    subprocess.run(**command(*train, tmp_path / "calm"), check=True)
    struck = subprocess.Popen(**command(*train, tmp_path / "struck"))
    state = tmp_path / "struck-unfinished" / "last.pt"
    while not state.exists() and struck.poll() is None: time.sleep(0.01)
    struck.kill()
    assert struck.wait() != 0, "it was through before it could be killed"
    subprocess.run(**command(*train, tmp_path / "struck", "--resume"), check=True)
    calm, struck = (tmp_path / name / "weights.safetensors" for name in ("calm", "struck"))
    assert calm.read_bytes() == struck.read_bytes()
    assert not state.parent.exists()


def test_killed_at_random_moments(tmp_path): print(run(AT_RANDOM, tmp_path, 0))


def test_killed_while_a_checkpoint_is_written(tmp_path): run(WHILE_WRITING, tmp_path)
