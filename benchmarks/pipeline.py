"""How fast a movie becomes a picture and a table, beside the bare network, the obvious way and the machine's limits.

    python benchmarks/pipeline.py [--device cuda] [--wall] [--threads 2] [--frames 64] [--slow-frames 4] [--size 128]

Measures all networks in float32 and bfloat16, on a GPU in float32 and float16 and compiled too, and how the cost
grows, and writes benchmarks/pipeline.json, which the page Bench of the site shows, or for a GPU pipeline_gpu.json.
FID-STORM, which works on the camera's grid, gets more frames than the networks on the fine grid. The clock is the
processor's on one thread, which other programs disturb little; --wall takes the one on the wall, as a GPU does. For a
single measurement on your machine: dl4smlm bench.
"""
import argparse
import json
from pathlib import Path

from dl4smlm.bench import describe_bench, run_bench
from dl4smlm.models.zoo import list_models


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--wall", action="store_true", help="measure by the clock on the wall")
    parser.add_argument("--threads", type=int, help="threads, with --wall")
    parser.add_argument("--frames", type=int, help="frames for FID-STORM; 64, or 12000 on a GPU")
    parser.add_argument("--slow-frames", type=int, help="frames for the others; 4, or 512 on a GPU")
    parser.add_argument("--size", type=int, help="side of a frame in camera pixels; 128, or 256 on a GPU")
    parser.add_argument("--out", type=Path, help="where to write; pipeline.json or pipeline_gpu.json beside this file")
    options = parser.parse_args()
    gpu = options.device.startswith("cuda")
    frames, slow = options.frames or (12000 if gpu else 64), options.slow_frames or (512 if gpu else 4)
    both, how = ("float32", "float16" if gpu else "bfloat16"), {
        "threads": options.threads, "cpu_time": not (options.wall or gpu), "compiled": gpu,
        "size_px": options.size or (256 if gpu else 128), "device": options.device}
    figures = run_bench(["fidstorm"], frames, precisions=both, growth=True, **how)
    others = [name for name in list_models() if name != "fidstorm"]
    figures["networks"] += run_bench(others, slow, precisions=both, **how)["networks"]
    out = options.out or Path(__file__).with_name("pipeline_gpu.json" if gpu else "pipeline.json")
    out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(describe_bench(figures))


if __name__ == "__main__": main()
