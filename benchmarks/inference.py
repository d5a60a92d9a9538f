"""How long a network takes for one frame, before and after `fuse`, beside what the machine can do at most.

    python benchmarks/inference.py [--networks deepstorm fidstorm] [--size 64] [--upscale 8] [--threads 2] [--rounds 20]
    python benchmarks/inference.py --networks fidstorm --blocks 5 --size 256
    python benchmarks/inference.py --device cuda --size 256 [--batch 16] [--out gpu.json]

For each network: milliseconds for one frame as it is (eager), fused, fused in bfloat16, and in onnxruntime with the
fused weights; in brackets how many times faster than eager. Then the share of the machine's peak, which is the higher
of a large matrix product's and a large convolution's rate (different libraries may do them), counted in the
multiply-adds that the fused network really does; and the largest error of bfloat16, or of the compiled network, as a
share of the largest value.
Times are the shortest of several runs, in turns, so that a disturbance from outside meets every way alike. With
--cpu-time the processor's time on one thread is measured, which other programs disturb less.

On a graphics card onnxruntime gives way to the network that is fused for a compiler and compiled, in float16, and to
frames per second. For comparison: 7.31 ms for a 256 x 256 frame were published for FID-STORM, with TensorRT on an
RTX 2080 Ti. --out writes the table into a JSON file and leaves what else is in it.
"""
import argparse
import json
import logging
import platform
import tempfile
import time
import warnings
from pathlib import Path

import torch

from dl4smlm.bench import measure_limits, shortest
from dl4smlm.fuse import count_work, export_onnx, fuse
from dl4smlm.models.contract import random_statistics
from dl4smlm.models.zoo import create_model, list_models


def onnx_run(model, x, threads, folder):
    "A function that runs the model in onnxruntime, or None and why not."
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        return None, f"not measured: {error.name} is not installed (pip install onnx onnxscript onnxruntime)"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = export_onnx(model, Path(folder)/"model.onnx", overwrite=True)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    frames = x.numpy()
    return lambda: session.run(None, {"frames": frames}), onnxruntime.__version__


def ways_of(model, x, threads, folder):
    "The ways to compute the same frames, the network of the fastest, and a remark on onnxruntime."
    def on(network):
        def run():
            network(x)
            if x.device.type == "cuda": torch.cuda.synchronize()
        return run

    short = fuse(model, torch.bfloat16)
    ways = {"eager": on(model), "fused": on(fuse(model)), "bfloat16": on(short)}
    if x.device.type != "cpu":
        joined = fuse(model, torch.float16, compiled=True)
        return ways | {"compiled": on(joined)}, joined, "not on a GPU"
    run, remark = onnx_run(model, x, threads, folder)
    return ways | ({"onnxruntime": run} if run else {}), short, remark


def worst_error(got, expected):
    "Largest error as a share of the largest value."
    return ((got - expected).abs().max()/expected.abs().max()).item()


def line(name, took, work, peaks, error, batch):
    "A line of the table, in milliseconds for one frame."
    last = "compiled" if "compiled" in took else "onnxruntime"
    cells = [f"{took[way]/batch:9.1f} ({took['eager']/took[way]:4.1f})" if way in took else f"{'-':>16s}"
             for way in ("fused", "bfloat16", last)]
    shares = [f"{work[1]*batch/took[way]*1000/peaks[way]:.0%}" for way in ("fused", "bfloat16")]
    rate = f"{1000*batch/took['compiled']:12.0f}" if "compiled" in took else ""
    return (f"{name:12s}{took['eager']/batch:9.1f} {' '.join(cells)}{work[0]:8.2f}>{work[1]:6.2f}"
            f"{' / '.join(shares):>14s}{error:9.2%}{rate}")


def row(name, took, work, peaks, error, batch):
    "The same for --out, with the share of the peak that the last way reaches in bfloat16."
    each = {f"{way}_ms": round(milliseconds/batch, 3) for way, milliseconds in took.items()}
    last = took.get("compiled", took["bfloat16"])
    share = work[1]*batch/last*1000/peaks["bfloat16"]
    return {"network": name} | each | {"frames_per_s": round(1000*batch/min(took.values())), "gmac": round(work[1], 2),
                                       "of_peak_bfloat16": round(share, 3), "worst_error": round(error, 4)}


def keep(path, what):
    "Replace some entries of a JSON file."
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(before | what, indent=1) + "\n", encoding="utf-8")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=list_models(), help="names; all by default")
    parser.add_argument("--size", type=int, default=64, help="side of the frame in camera pixels")
    parser.add_argument("--upscale", type=int, default=8, help="super-resolution pixels per camera pixel")
    parser.add_argument("--blocks", type=int, help="blocks of FID-STORM, 10 if not given")
    parser.add_argument("--batch", type=int, default=1, help="frames at a time")
    parser.add_argument("--threads", type=int, default=2, help="threads")
    parser.add_argument("--rounds", type=int, default=20, help="how often each way has its turn")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, help="file for the table, .json")
    parser.add_argument("--cpu-time", action="store_true", help="measure the processor's time on one thread")
    return parser.parse_args()


def main():
    asked = arguments()
    threads, clock = (1, time.process_time) if asked.cpu_time else (asked.threads, time.perf_counter)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    device = torch.device(asked.device)
    limits = measure_limits(device, clock=clock)
    peaks = {"fused": limits["float32"], "bfloat16": limits["bfloat16"]}
    print(f"{platform.machine()}, torch {torch.__version__}, {threads} thread(s) on {device}, "
          f"{asked.batch} frame(s) of {asked.size} x {asked.size} at x{asked.upscale}")
    print(f"at most float32 {peaks['fused']:.1f}, bfloat16 {peaks['bfloat16']:.1f} billion multiply-adds per second")
    last = "onnxruntime" if device.type == "cpu" else "compiled"
    print(f"{'network':12s}{'eager':>9s}{'fused':>17s}{'bfloat16':>17s}{last:>17s}{'work':>15s}{'of the peak':>14s}"
          f"{'error':>9s}" + (f"{'frames/s':>12s}" if device.type == "cuda" else ""))
    rows = []
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        for name in asked.networks:
            more = {"blocks": asked.blocks} if name == "fidstorm" and asked.blocks else {}
            model = random_statistics(create_model(name, asked.upscale, **more)).eval().to(device)
            x = torch.randn(asked.batch, 1, asked.size, asked.size, device=device)
            work = count_work(model, asked.size)/1e9, count_work(fuse(model), asked.size)/1e9
            ways, fastest, remark = ways_of(model, x, threads, folder)
            shortest(ways, 1)  # the first time is slow
            took = {way: 1000*seconds for way, seconds in shortest(ways, asked.rounds, clock).items()}
            measured = name, took, work, peaks, worst_error(fastest(x), model(x)), asked.batch
            rows.append(row(*measured))
            print(line(*measured), flush=True)
    print("\nmilliseconds per frame (times as fast as eager); work in billion multiply-adds before > after; share of "
          "the peak in float32 / bfloat16;\nlargest error of bfloat16, or on a GPU of the compiled, as a share of the "
          f"largest value; onnxruntime: {remark}")
    if asked.out:
        frames = f"{asked.batch} at once, {asked.size} x {asked.size}, upscale {asked.upscale}"
        where = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()}, {threads} thread(s)"
        about = {"device": where, "torch": torch.__version__, "frames": frames}
        keep(asked.out, about | {"peaks": {name: round(limits[name]) for name in ("float32", "bfloat16")},
                                 "inference": rows})


if __name__ == "__main__": main()
