"""Run all tests: each notebook in a process, two at a time, then pytest in two. The last line counts both together.

    python tests/run.py [--only notebooks|pytest] [--notebooks PATTERN]
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from fnmatch import fnmatch
from pathlib import Path
from xml.etree import ElementTree

from project import NBS, ROOT, notebooks, settings

LIMIT_S = 300  # for one notebook; the book's own limit of 60 s leaves room for a busy machine
WORKERS = 2
ENVIRONMENT = os.environ | {"PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}

ONE_NOTEBOOK = """
import sys
from pathlib import Path
from nbdev.test import test_nb
path, root, flags = sys.argv[1:]
ok, _ = test_nb(Path(path), skip_flags=flags.split(), basepath=root)
sys.exit(not ok)
"""


def run_notebook(path):
    "Run one notebook in a process of its own; return whether it passed, its seconds and what it printed."
    start = time.time()
    command = [sys.executable, "-c", ONE_NOTEBOOK, str(path), str(ROOT), settings()["tst_flags"]]
    try:
        done = subprocess.run(command, env=ENVIRONMENT, cwd=NBS, timeout=LIMIT_S, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
                              errors="replace")
        passed, text = done.returncode == 0, done.stdout
    except subprocess.TimeoutExpired:
        passed, text = False, f"stopped after {LIMIT_S} s\n"
    return passed, time.time() - start, text


def run_notebooks(pattern):
    "Run the notebooks whose path matches `pattern`; return how many passed and failed."
    paths = [path for path in notebooks() if fnmatch(path.name, pattern) or fnmatch(name_of(path), pattern)]
    failed = 0
    with ThreadPoolExecutor(WORKERS) as pool:
        jobs = {pool.submit(run_notebook, path): path for path in paths}
        for job in as_completed(jobs):
            passed, seconds, text = job.result()
            failed += not passed
            if not passed: print(text, end="")
            print(f"{'ok' if passed else 'FAILED'} {name_of(jobs[job])} {seconds:.1f} s", flush=True)
    return len(paths) - failed, failed


def name_of(path):
    "The notebook's path below nbs/, with forward slashes."
    return path.relative_to(NBS).as_posix()


def run_pytest():
    "Run pytest on tests/; return how many tests passed, failed and were skipped."
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", str(ROOT / "tests"), f"--junitxml={report}",
                   "-n", str(WORKERS), "--dist", "loadfile"]
        status = subprocess.run(command, env=ENVIRONMENT, cwd=ROOT, stdin=subprocess.DEVNULL).returncode
        suites = ElementTree.parse(report).getroot().iter("testsuite") if report.exists() else []
        total = failed = skipped = 0
        for suite in suites:
            total += int(suite.get("tests"))
            failed += int(suite.get("failures")) + int(suite.get("errors"))
            skipped += int(suite.get("skipped"))
    if status not in (0, 5): failed = max(failed, 1)  # a crash counts, even without a report; 5 means no tests
    return max(total - failed - skipped, 0), failed, skipped


def main():
    "Run what was asked for, print the closing line, return the exit status."
    parser = argparse.ArgumentParser(description="Run the tests of the book and of tests/.")
    parser.add_argument("--only", choices=["notebooks", "pytest"], help="run only these (default: both)")
    parser.add_argument("--notebooks", metavar="PATTERN", default="*", help="run only these, such as '0*' (default: *)")
    options = parser.parse_args()
    passed = failed = skipped = 0
    if options.only != "pytest":
        passed, failed = run_notebooks(options.notebooks)
        if not passed + failed: print(f"no notebook in {NBS} matches {options.notebooks!r}")
    if options.only != "notebooks":
        counts = run_pytest()
        passed, failed, skipped = passed + counts[0], failed + counts[1], counts[2]
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
