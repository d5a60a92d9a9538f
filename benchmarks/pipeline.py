"""How fast a movie becomes a picture and a table, beside the bare network, the obvious way and the machine's limits.

    python benchmarks/pipeline.py [--device cuda] [--wall] [--threads 2] [--frames 64] [--slow-frames 4] [--size 128]

Measures all networks in float32 and bfloat16, and how the cost grows, and writes benchmarks/pipeline.json, which the
page Bench of the site shows. FID-STORM, which works on the camera's grid, gets more frames than the networks on the
fine grid. The clock is the processor's on one thread, which other programs disturb little; --wall takes the one on
the wall. For a single measurement on your machine: dl4smlm bench.
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
    parser.add_argument("--frames", type=int, default=64, help="frames for FID-STORM")
    parser.add_argument("--slow-frames", type=int, default=4, help="frames for the others")
    parser.add_argument("--size", type=int, default=128, help="side of a frame in camera pixels")
    options = parser.parse_args()
    both, how = ("float32", "bfloat16"), {"threads": options.threads, "cpu_time": not options.wall,
                                          "device": options.device}
    figures = run_bench(["fidstorm"], options.frames, options.size, 8, both, rounds=2, growth=True, **how)
    others = [name for name in list_models() if name != "fidstorm"]
    figures["networks"] += run_bench(others, options.slow_frames, options.size, 8, both, rounds=1, **how)["networks"]
    Path(__file__).with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(describe_bench(figures))


if __name__ == "__main__": main()
