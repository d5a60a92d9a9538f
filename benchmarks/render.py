"""How long it takes to draw a table of localizations, and how much memory.

    python benchmarks/render.py [--number 1000000] [--field-um 40] [--pixel-nm 10]

Uncertainties run from 4 to 40 nm, most of them small. For a tenth of the molecules and for all of them: processor
seconds for a histogram, for Gaussians of 15 nm, for Gaussians by uncertainty and for those in colour by frame, and by
how much the largest memory of the process grew while drawing (the picture itself is printed beside it).
"""
import argparse
import resource
import time

import numpy as np

import dl4smlm as smlm


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=1_000_000, help="localizations")
    parser.add_argument("--field-um", type=float, default=40., help="side of the field in um")
    parser.add_argument("--pixel-nm", type=float, default=10., help="pixel of the picture in nm")
    arguments = parser.parse_args()
    side, generator = 1000*arguments.field_um, np.random.default_rng(0)
    ways = {"histogram": {"sigma_nm": 0}, "15 nm": {"sigma_nm": 15.}, "uncertainty": {}}
    print(f"picture: {4*(side/arguments.pixel_nm)**2/1e6:.0f} MB")
    for number in (arguments.number//10, arguments.number):
        place = generator.uniform(0, side, (2, number))
        uncertainty = 4*10**generator.beta(1.5, 3, number)
        table = smlm.make_emitters(generator.integers(0, 20_000, number), *place, uncertainty_nm=uncertainty)
        for name, options in [*ways.items(), ("colour", {})]:
            draw = smlm.render_colour if name == "colour" else smlm.render
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            start = time.process_time()
            draw(table, field_nm=(side, side), pixel_nm=arguments.pixel_nm, **options)
            seconds = time.process_time() - start
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)/1e3
            print(f"{number:9d} {name:12s}{seconds:8.2f} s   {grown:8.0f} MB more", flush=True)


if __name__ == "__main__": main()
