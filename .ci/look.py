"""Look at the pages that .ci/pages.py has made, in headless Chromium, at the width of a desktop and of a phone.

    python .ci/look.py FOLDER [--pictures FOLDER] [--only PATTERN]

No page may show an error, an empty picture or raw markup, write errors to the console, or scroll sideways on a phone.
Nothing outside of this machine is asked for: formulas need Debian's libjs-mathjax, and are left alone without it. Where
there is no Chromium, it says so and passes.
"""
import argparse
import base64
import shutil
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

DESKTOP_PX, PHONE_PX = 1280, 390
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --hide-scrollbars --allow-file-access-from-files""".split()

FORMULAS_DONE = """
const done = arguments[0];
if (window.MathJax && MathJax.Hub) MathJax.Hub.Queue(() => done(true)); else done(false);
"""

SEEN = r"""
const found = [];
for (const image of document.images) {
  if (/^https?:/.test(image.src)) continue;
  if (!image.complete || image.naturalWidth < 2) { found.push("a picture that does not show: " + image.alt); continue; }
  const canvas = document.createElement("canvas"), paper = canvas.getContext("2d");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  paper.drawImage(image, 0, 0);
  const points = new Uint32Array(paper.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  if (points.every(point => point == points[0])) found.push("an empty picture: " + image.alt);
}
const words = document.querySelector("main").cloneNode(true);
for (const tag of words.querySelectorAll("pre, code, script, style, .mjx-chtml, .MJX_Assistive_MathML")) tag.remove();
const raw = words.textContent.match(/\]\([^)]*\)|\*\*\S|^#{1,6} |:::|\{[.#]\w|<\/?\w+>|^\|.*\|$|#\||^```|Traceback/m);
if (raw) found.push("raw markup: " + words.textContent.slice(Math.max(0, raw.index - 30), raw.index + 50));
if (window.MathJax && words.textContent.includes("$$")) found.push("a formula that is not drawn");
for (const wrong of document.querySelectorAll(".merror, .mjx-merror, .MathJax_Error, .mjx-noError, .noError"))
  found.push("a formula with an error: " + wrong.textContent);
if (!document.querySelector("h1").textContent.trim() || !document.querySelector(".description").textContent.trim())
  found.push("no title, or no description");
return found;
"""

TOO_WIDE = """
const page = document.documentElement, wide = [];
if (page.scrollWidth <= page.clientWidth) return [];
const boxed = tag => { for (let up = tag.parentElement; up && up.tagName != "MAIN"; up = up.parentElement)
  if (getComputedStyle(up).overflowX != "visible") return true; return false; };
for (const tag of document.querySelectorAll("main *"))
  if (tag.getBoundingClientRect().right > page.clientWidth + 1 && !boxed(tag))
    wide.push(tag.tagName + " " + tag.textContent.slice(0, 50));
return ["scrolls sideways to " + page.scrollWidth + " px: " + wide.slice(0, 3).join("; ")];
"""


def start(browser, driver, profile):
    "Start a browser that reaches nothing but files."
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    blocked = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
    for flag in [*FLAGS, f"--user-data-dir={profile}", blocked]: options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = webdriver.Chrome(options=options, service=Service(driver))
    window.set_page_load_timeout(120)
    window.set_script_timeout(120)
    return window


def resize(window, width_px):
    "Make the page as wide as a screen of that width."
    window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": width_px < 600})


def photograph(window, path, most_px=6000):
    "Save a picture of the page, from its top."
    size = window.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], most_px), "scale": 1}
    shot = window.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(base64.b64decode(shot["data"]))


def complaints(window):
    "Errors in the console, but those about addresses outside, which are blocked on purpose."
    for entry in window.get_log("browser"):
        outside = "net::ERR_NAME_NOT_RESOLVED" in entry["message"] and entry["message"].startswith("http")
        if entry["level"] == "SEVERE" and not outside: yield f"console: {entry['message'][:200]}"


def look(window, page, pictures, name):
    "All that is wrong with one page."
    resize(window, DESKTOP_PX)
    window.get(page.resolve().as_uri())
    window.execute_async_script(FORMULAS_DONE)
    found = [" ".join(problem.split()) for problem in window.execute_script(SEEN)]
    for width_px in (DESKTOP_PX, PHONE_PX):
        resize(window, width_px)
        found += [f"{width_px} px wide: {problem}" for problem in window.execute_script(TOO_WIDE)]
        if pictures: photograph(window, Path(pictures) / f"{name.removesuffix('.html')}_{width_px}.png")
    return found + list(complaints(window))


def main():
    "Look at all pages; exit with status 1 and a list when one is not as it should be."
    parser = argparse.ArgumentParser(description="Look at the pages in headless Chromium.")
    parser.add_argument("folder", type=Path, help="where .ci/pages.py has made the pages")
    parser.add_argument("--pictures", help="keep a picture of each page and width in this folder")
    parser.add_argument("--only", default="*", help="look only at pages whose name matches (default: *)")
    options = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
    driver = shutil.which("chromedriver")
    if not browser or not driver: return print("skipped: no Chromium with its driver here, the pages are not looked at")
    names = [path.relative_to(options.folder).as_posix() for path in sorted(options.folder.rglob("*.html"))]
    names = [name for name in names if fnmatch(name, options.only)]
    failed = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        window = start(browser, driver, profile)
        try:
            for name in names:
                found = look(window, options.folder / name, options.pictures, name)
                failed += [f"{name}: {problem}" for problem in found]
        finally:
            window.quit()
    print(f"looked at {len(names)} pages, {DESKTOP_PX} and {PHONE_PX} px wide")
    if failed or not names: sys.exit("\n".join(["the pages do not look as they should:", *failed]))


if __name__ == "__main__": main()
