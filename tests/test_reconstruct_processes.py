"A reconstruction that is killed, shared, or disturbed ends in the same picture and table, or in one clear line."
import os
import random
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
import torch

from dl4smlm.bundle import save_pretrained
from dl4smlm.data import Normalise
from dl4smlm.models.zoo import create_model
from dl4smlm.reconstruct import reconstruct

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kills and limits as Linux has them")
COMMAND = "from dl4smlm.cli.commands import main; main()"
FRAMES, BLOCK = 160, 16  # a field of 256 x 256 pixels has the smallest block
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    "A movie of flashes, a small network that shows them, and what one process makes of them in one go."
    folder = tmp_path_factory.mktemp("job")
    random = np.random.default_rng(0)
    movie = random.poisson(100, (FRAMES, 256, 256)).astype(np.uint16)
    rows, columns = random.integers(0, 256, (2, 20 * FRAMES))
    movie[np.arange(FRAMES).repeat(20), rows, columns] += 400
    with tifffile.TiffWriter(folder / "movie.tif", bigtiff=True) as tiff:
        for frame in movie: tiff.write(frame, contiguous=False)
    torch.manual_seed(0)
    model = create_model("fidstorm", upscale=2, blocks=1, width=4)
    model.normalise, model.pixel_nm = Normalise(100., 100.), 100.
    save_pretrained(model, folder / "model")
    done = run(folder, folder / "whole", threads=2)  # all others have one thread
    assert done.returncode == 0, done.stderr
    return folder


def arguments(job, out, *more, movie=None):
    return ["reconstruct", str(movie or job / "movie.tif"), "--model", str(job / "model"), "--out", str(out),
            "--threshold", "0.02", "--pixel-nm", "100", "--device", "cpu", *more]


def run(job, out, *more, movie=None, threads=1, **options):
    "Reconstruct in a process of its own."
    command = [sys.executable, "-c", COMMAND, *arguments(job, out, *more, movie=movie)]
    own = {"OMP_NUM_THREADS": str(threads)}
    return subprocess.run(command, env=ENVIRONMENT | own, capture_output=True, text=True, timeout=300, **options)


def same(job, out):
    "Whether picture and table are those of the undisturbed run, byte for byte, and nothing is left over."
    names = ("reconstruction.tif", "localizations.csv")
    left = list(out.parent.glob(f".{out.name}*"))
    return not left and all((job / "whole" / name).read_bytes() == (out / name).read_bytes() for name in names)


def kept(out):
    "Numbers of the blocks that are kept beside a folder that is not there yet."
    files = out.parent.glob(f".{out.name}.part/sum-*.npz")
    return sorted(block for path in files for block in np.load(path)["blocks"].tolist())


def complaint(done):
    "The one line, after the progress bar if there was one, with which a run ended."
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stdout + done.stderr
    *bar, line = done.stderr.splitlines()
    assert line.startswith("dl4smlm: ") and not [text for text in bar if text and "frame/s" not in text], done.stderr
    return line


def test_the_job_is_worth_comparing(job):
    image = tifffile.imread(job / "whole" / "reconstruction.tif")
    assert image.max() > 0 and len(np.unique(image)) > 1000
    assert sum(1 for _ in open(job / "whole" / "localizations.csv")) > 100


def launcher(launch, out, job):
    engine = {"torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"],
              "accelerate": ["accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1",
                             "--mixed_precision", "no", "--dynamo_backend", "no", "--no_python"]}[launch]
    return [sys.executable, "-m", *engine, sys.executable, "-c", COMMAND, *arguments(job, out, "--resume")]


@pytest.mark.parametrize("launch", ["torchrun", "accelerate"])
def test_two_processes_give_the_same(job, tmp_path, launch):
    done = subprocess.run(launcher(launch, tmp_path / "out", job), env=ENVIRONMENT, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("molecules on a grid") == 1, done.stdout
    assert same(job, tmp_path / "out")


WHO = """
import os
from pathlib import Path
import dl4smlm
Path(f"{os.getpid()}.txt").write_text(str(dl4smlm.find_process()), encoding="utf-8")
"""


def test_processes_know_each_other_without_being_told_the_device(tmp_path):
    "On a machine without a GPU, `auto` is the processor, and there are two processes and not twice the first one."
    (tmp_path / "who.py").write_text(WHO, encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
                           "who.py"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    found = sorted(path.read_text(encoding="utf-8") for path in tmp_path.glob("*.txt"))  # lines of one stdout can mix
    assert found == ["(0, 2)", "(1, 2)"], done.stdout + done.stderr[-2000:]


def until_kept(process, out, blocks):
    "Wait until so many blocks are kept."
    end = time.time() + 120
    while len(kept(out)) < blocks and process.poll() is None and time.time() < end: time.sleep(0.005)
    assert process.poll() is None, "it ended before it could be killed"


KILLS = """
import os, random, shutil, signal, socket, sys, threading, time, traceback
from pathlib import Path

import accelerate, tifffile, tqdm
import dl4smlm
from dl4smlm.cli.commands import main

tqdm.tqdm.set_lock(threading.RLock())  # that of all processes would stay locked when one is killed that holds it
processes, seed, job, out = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
movie = tifffile.imread(job/"movie.tif", key=0)[None]  # once, so that all that is imported on the way is there
dl4smlm.localize(dl4smlm.reconstruct(dl4smlm.from_pretrained(job/"model"), movie, device="cpu", progress=False))
chance, part = random.Random(seed), out.with_name(f".{out.name}.part")
arguments = ["reconstruct", str(job/"movie.tif"), "--model", str(job/"model"), "--out", str(out), "--threshold", "0.02",
             "--pixel-nm", "100", "--device", "cpu", "--resume"]


def start(count):
    "Start processes of one job, as `torchrun` would."
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [child(rank, count, port) for rank in range(count)]


def child(rank, count, port):
    number = os.fork()
    if number: return number
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    if count > 1: os.environ.update({name: str(value) for name, value in names.items()} | {"MASTER_ADDR": "127.0.0.1"})
    try: main(arguments)
    except SystemExit as end: os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException: traceback.print_exc()
    os._exit(1)


def ended(children): return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def drafts(): return {*part.glob(f".{out.name}-*"), *out.parent.glob(f".{out.name}-*")}


def watch(begun, before):
    "How far it is: 0 before the first block, 1 with blocks under way, 2 with picture and table being written."
    if out.exists() or drafts() - before: return 2
    job_file = part/"job.json"
    return int(job_file.exists() and job_file.stat().st_mtime_ns > begun)


def run(count, phase=None, delay=0.):
    "Run to the end, or kill one process a while after a phase has begun; return how it ended and how long phases took."
    begun, before, start_of = time.time_ns(), drafts(), [time.perf_counter()]
    children = start(count)
    while not ended(children) and (phase is None or len(start_of) <= phase):
        while len(start_of) <= watch(begun, before): start_of.append(time.perf_counter())
        time.sleep(0.001)
    if phase is not None:
        until = (start_of[phase] if phase < len(start_of) else 0) + delay
        while not ended(children) and time.perf_counter() < until: time.sleep(0.0005)
        os.kill(chance.choice(children), signal.SIGKILL)  # one that has just ended does not mind
        if count > 1:  # torchrun ends the others
            for other in children: os.kill(other, signal.SIGTERM)
    codes = [os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) for number in children]
    start_of += [time.perf_counter()]*(4 - len(start_of))
    return codes, [after - before for before, after in zip(start_of, start_of[1:])]


def check(story):
    for name in ("reconstruction.tif", "localizations.csv"):
        assert (out/name).read_bytes() == (job/"whole"/name).read_bytes(), f"{name} differs: {story}"


codes, lengths = run(processes)
assert codes == [0]*processes, codes
check("not killed")
assert not part.exists()
shutil.rmtree(out)
killed, attempts, story = [0, 0, 0], 0, [f"seed {seed}"]
while min(killed) < 2 and attempts < 60:
    attempts += 1
    phase = killed.index(min(killed))
    delay = chance.uniform(0, lengths[phase])
    story.append(f"{1000*delay:.1f} ms into phase {phase}")
    codes, _ = run(processes, phase, delay)
    assert set(codes) <= {0, -signal.SIGKILL, -signal.SIGTERM}, f"{codes}: {story}"
    killed[phase] += -signal.SIGKILL in codes
    if not out.exists(): continue
    check(story)  # whole, or not there
    shutil.rmtree(out)
    shutil.rmtree(part, ignore_errors=True)
assert min(killed) >= 2, f"killed {killed}: {story}"
if not part.exists(): run(processes, 1, lengths[1]/2)
codes, _ = run(1)  # one process goes on with what any number began
assert codes == [0], f"{codes}: {story}"
check(story)
assert not list(out.parent.glob(f".{out.name}*")), f"something is left over: {story}"
print(killed, attempts)
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_random_moments(job, tmp_path, processes):
    "Again and again, before the first block, between blocks and while files are written: the end is the same."
    seed = int(os.environ.get("KILL_SEED", secrets.randbelow(10**6)))
    command = [sys.executable, "-c", KILLS, str(processes), str(seed), str(job), str(tmp_path / "out")]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"repeat with KILL_SEED={seed}: {done.stderr[-3000:]}"


def test_one_of_two_killed_and_started_again(job, tmp_path):
    "By the launcher itself, at a random moment of the first second of work."
    out, seed = tmp_path / "out", int(os.environ.get("KILL_SEED", secrets.randbelow(10**6)))
    chance = random.Random(seed)
    process = subprocess.Popen(launcher("torchrun", out, job), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    while not (out.parent / f".{out.name}.part" / "job.json").exists() and process.poll() is None: time.sleep(0.005)
    time.sleep(chance.uniform(0, 0.5))
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    os.kill(int(chance.choice(children.stdout.split())), signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    said = f"KILL_SEED={seed}: {said}"
    assert process.returncode != 0 and "SIGKILL" in said.upper() and not out.exists(), said
    assert len(kept(out)) < FRAMES // BLOCK, said
    assert run(job, out, "--resume").returncode == 0, said  # one process goes on with what two began
    assert same(job, out), said


def test_killed_resumed_and_not_mistaken_for_another(job, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", COMMAND, *arguments(job, out)], env=ENVIRONMENT)
    until_kept(process, out, 3)
    process.kill()
    process.wait()
    before = len(kept(out))
    assert before >= 3 and not out.exists()
    assert "--resume" in complaint(run(job, out))
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, tifffile.imread(job / "movie.tif")[::-1])
    assert "another movie" in complaint(run(job, out, "--resume", movie=other))
    said = complaint(run(job, out, "--resume", "--threshold", "0.03", "--precision", "bfloat16"))
    assert "another --threshold (0.02), --precision (float32)" in said
    assert len(kept(out)) == before
    assert run(job, out, "--resume").returncode == 0
    assert same(job, out)


def damaged(job, path):
    "A copy of the movie in which frame 100 says that it is compressed in a way that nobody knows."
    shutil.copy(job / "movie.tif", path)
    with tifffile.TiffFile(path) as tiff: place = tiff.pages[100].tags["Compression"].valueoffset
    with open(path, "r+b") as file:
        file.seek(place)
        file.write((64999).to_bytes(2, "little"))


def test_an_unreadable_frame(job, tmp_path):
    damaged(job, tmp_path / "movie.tif")
    said = complaint(run(job, tmp_path / "out", movie=tmp_path / "movie.tif"))
    assert "frame 100" in said and "--resume" in said
    assert kept(tmp_path / "out") == list(range(100 // BLOCK))
    shutil.copy(job / "movie.tif", tmp_path / "movie.tif")  # a good copy turns up
    assert run(job, tmp_path / "out", "--resume", movie=tmp_path / "movie.tif").returncode == 0
    assert same(job, tmp_path / "out")


def test_a_file_that_shrinks(job, tmp_path):
    shutil.copy(job / "movie.tif", tmp_path / "movie.tif")
    process = subprocess.Popen([sys.executable, "-c", COMMAND, *arguments(job, tmp_path / "out",
                               movie=tmp_path / "movie.tif")], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    until_kept(process, tmp_path / "out", 1)
    os.truncate(tmp_path / "movie.tif", 3 * (tmp_path / "movie.tif").stat().st_size // 4)
    _, said = process.communicate(timeout=300)
    said = complaint(subprocess.CompletedProcess([], process.returncode, "", said))
    assert "cut short" in said and "--resume" in said
    assert 1 <= len(kept(tmp_path / "out")) <= 3 * FRAMES // BLOCK // 4


def test_a_full_disk(job, tmp_path):
    "A limit on the size of files plays the disk: rows fit, the picture does not, and so nothing is said to be kept."
    def full(): resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, resource.RLIM_INFINITY))
    said = complaint(run(job, tmp_path / "out", preexec_fn=full))
    assert "too large" in said.lower() and "kept" not in said
    assert not (tmp_path / "out").exists() and not kept(tmp_path / "out")
    assert run(job, tmp_path / "out", "--resume").returncode == 0
    assert same(job, tmp_path / "out")


class Stopped:
    "A movie during whose first frames somebody presses Ctrl-C."
    shape, dtype = (20, 16, 16), np.dtype(np.uint16)
    def __len__(self): return self.shape[0]
    def __getitem__(self, key):
        if isinstance(key, slice): raise KeyboardInterrupt
        return np.zeros(self.shape[1:], self.dtype)


@pytest.mark.parametrize("movie, error", [(np.full((20, 16, 16), np.nan), ValueError), (Stopped(), KeyboardInterrupt)])
@pytest.mark.parametrize("there", ["nothing", "a folder", "a thesis"])
def test_a_folder_of_the_user_survives_a_job_that_fails_at_once(movie, error, there, tmp_path):
    model, folder = create_model("fidstorm", upscale=2, blocks=1, width=4), tmp_path / "mine"
    model.normalise, model.pixel_nm = Normalise(100., 100.), 100.
    if there != "nothing": folder.mkdir()
    if there == "a thesis": (folder / "thesis.txt").write_text("three years", encoding="utf-8")
    for resume in (False, True):
        with pytest.raises(error):
            reconstruct(model, movie, folder=folder, keep_frames=True, resume=resume, device="cpu", progress=False)
        assert folder.exists() == (there != "nothing")
        if folder.exists(): assert [path.name for path in folder.iterdir()] == ["thesis.txt"]*(there == "a thesis")


def test_what_was_asked_for_in_numpy_and_tuples_is_resumed(tmp_path):
    model, movie = create_model("fidstorm", upscale=2, blocks=1, width=4), np.full((20, 16, 16), 110, np.uint16)
    model.normalise = Normalise(100., 100.)
    ask = {"folder": tmp_path / "job", "sizes": (64, 4), "pixel_nm": np.float32(100), "progress": False}
    first = reconstruct(model, movie, **ask)
    assert np.array_equal(reconstruct(model, movie, **ask, resume=True).image, first.image)
    with pytest.raises(ValueError, match="holds this job already"): reconstruct(model, movie, **ask)
