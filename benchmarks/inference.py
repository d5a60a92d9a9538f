"""How long a network takes for one frame, before and after `fuse`, beside what the machine can do at most.

    python benchmarks/inference.py [--networks deepstorm fidstorm] [--size 64] [--upscale 8] [--threads 2] [--seconds 2]

For each network: milliseconds for one frame as it is (eager), fused, fused in bfloat16, and fused in onnxruntime; in
brackets how many times faster than eager. Then the share of the machine's matrix-multiply peak, counted in the
multiply-adds that the fused network really does. Times are the shortest of several runs, in turns, so that a
disturbance from outside meets every way alike. With --cpu-time the processor's time on one thread is measured, which
other programs disturb less.
"""
import argparse
import platform
import tempfile
import time
from pathlib import Path

import torch

from dl4smlm.fuse import count_work, export_onnx, fuse
from dl4smlm.models.contract import random_statistics
from dl4smlm.models.zoo import create_model, list_models


def shortest(ways, seconds, clock, rounds=3):
    "Milliseconds of the shortest run of each way, taken in turns."
    for run in ways.values(): run()
    best, end = dict.fromkeys(ways, float("inf")), time.perf_counter() + seconds*len(ways)
    while rounds > 0 or time.perf_counter() < end:
        for name, run in ways.items():
            start = clock()
            run()
            best[name] = min(best[name], 1000*(clock() - start))
        rounds -= 1
    return best


def matmul_peak(dtype, device, synchronize, clock, side=1536):
    "Multiply-adds per second of a large matrix product, in billions."
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))

    def run():
        a @ b
        synchronize()
    return side**3/shortest({"product": run}, 1, clock, rounds=5)["product"]/1e6


def onnx_run(model, x, threads, folder):
    "A function that runs the model in onnxruntime, or None and why not."
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        return None, f"not measured: {error.name} is not installed (pip install onnx onnxscript onnxruntime)"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    path = export_onnx(model, Path(folder)/"model.onnx", overwrite=True)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    frames = x.numpy()
    return lambda: session.run(None, {"frames": frames}), onnxruntime.__version__


def ways_of(model, x, threads, folder):
    "The ways to compute the same frame, and a remark on onnxruntime."
    device = x.device

    def on(network):
        def run():
            network(x)
            if device.type == "cuda": torch.cuda.synchronize()
        return run

    ways = {"eager": on(model), "fused": on(fuse(model)), "bfloat16": on(fuse(model, torch.bfloat16))}
    if device.type != "cpu": return ways, "onnxruntime is measured on the processor only"
    run, remark = onnx_run(model, x, threads, folder)
    return ways | ({"onnxruntime": run} if run else {}), remark


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=list_models(), help="names; all by default")
    parser.add_argument("--size", type=int, default=64, help="side of the frame in camera pixels")
    parser.add_argument("--upscale", type=int, default=8, help="super-resolution pixels per camera pixel")
    parser.add_argument("--threads", type=int, default=2, help="threads")
    parser.add_argument("--seconds", type=float, default=2, help="seconds for each way to compute")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--cpu-time", action="store_true", help="measure the processor's time on one thread")
    arguments = parser.parse_args()
    threads, clock = (1, time.process_time) if arguments.cpu_time else (arguments.threads, time.perf_counter)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    device = torch.device(arguments.device)
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    peaks = {name: matmul_peak(dtype, device, synchronize, clock)
             for name, dtype in [("fused", torch.float32), ("bfloat16", torch.bfloat16)]}
    print(f"{platform.machine()}, torch {torch.__version__}, {threads} thread(s) on {device}, "
          f"frames of {arguments.size} x {arguments.size} at x{arguments.upscale}")
    print(f"matrix product at most: float32 {peaks['fused']:.1f}, bfloat16 {peaks['bfloat16']:.1f} "
          "billion multiply-adds per second\n")
    print(f"{'network':12s}{'eager':>9s}{'fused':>17s}{'bfloat16':>17s}{'onnxruntime':>17s}{'work':>14s}"
          f"{'of the peak':>15s}")
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        for name in arguments.networks:
            model = random_statistics(create_model(name, arguments.upscale)).eval().to(device)
            x = torch.randn(1, 1, arguments.size, arguments.size, device=device)
            work = count_work(model, arguments.size)/1e9, count_work(fuse(model), arguments.size)/1e9
            ways, remark = ways_of(model, x, threads, folder)
            took = shortest(ways, arguments.seconds, clock)
            cells = [f"{took[way]:9.1f} ({took['eager']/took[way]:4.1f})" if way in took else f"{'-':>16s}"
                     for way in ("fused", "bfloat16", "onnxruntime")]
            shares = [f"{work[1]/took[way]*1000/peaks[way]:.0%}" for way in ("fused", "bfloat16")]
            print(f"{name:12s}{took['eager']:9.1f} {' '.join(cells)}{work[0]:8.2f}>{work[1]:5.2f}"
                  f"{' / '.join(shares):>15s}", flush=True)
    print("\nmilliseconds per frame (times as fast as eager); work in billion multiply-adds before > after; "
          f"share of the peak in float32 / bfloat16\nonnxruntime: {remark}")


if __name__ == "__main__": main()
