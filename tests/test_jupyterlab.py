"One path in a real browser: JupyterLab runs a notebook with a widget, a key moves the slider, the picture changes."
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import nbformat
import pytest

from project import ROOT

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--window-size=1000,1100")
CODE = {
    "simulator": "explore_simulator(size_px=24)",
    "movie": "movie, truth = simulate(20_000, size_px=16, seed=0)\nexplore_movie(movie, truth, truth, 100)",
}


def missing():
    "What this test needs and this machine lacks."
    found = {"selenium": importlib.util.find_spec("selenium"), "jupyterlab": importlib.util.find_spec("jupyterlab"),
             "Chromium": chromium(), "chromedriver": shutil.which("chromedriver")}
    return [name for name, where in found.items() if not where]


def chromium(): return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


pytestmark = pytest.mark.skipif(bool(missing()), reason=f"no browser to try it in: {', '.join(missing())} missing")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "The address of a JupyterLab that serves one folder on this machine, with a notebook for each widget."
    home = tmp_path_factory.mktemp("lab")
    for name, code in CODE.items():
        cell = nbformat.v4.new_code_cell(f"from dl4smlm import explore_movie, explore_simulator, simulate\n{code}")
        notebook = nbformat.v4.new_notebook(cells=[cell])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, home / f"{name}.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {f"JUPYTER_{kind}": str(home / f".{kind}") for kind in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")}
    folders["JUPYTERLAB_SETTINGS_DIR"], folders["JUPYTERLAB_WORKSPACES_DIR"] = str(home / ".set"), str(home / ".work")
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}",
               "--ip=127.0.0.1", "--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--notebook-dir={home}"]
    log = (home / "log.txt").open("w")
    server = subprocess.Popen(command, cwd=home, stdout=log, stderr=log, start_new_session=True,
                              env=os.environ | folders | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try: urllib.request.urlopen(f"{address}/api", timeout=5).close()
            except (urllib.error.URLError, OSError): time.sleep(0.5)
            else: break
        else: pytest.fail(f"JupyterLab did not start:\n{(home / 'log.txt').read_text()}")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
        log.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    options = webdriver.ChromeOptions()
    options.binary_location = chromium()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"): options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def wait(what, seconds=120):
    "Ask again and again until there is an answer."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := what(): return answer
        time.sleep(0.2)
    raise AssertionError(f"nothing came within {seconds} s")


def run_cell(browser):
    "The picture below the first cell, which is run again as long as it has not run: a kernel may still be starting."
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    prompt = browser.find_element(By.CSS_SELECTOR, ".jp-CodeCell .jp-InputPrompt")
    if prompt.text.strip() == "[ ]:" and browser.execute_script(READY):
        prompt.click()
        ActionChains(browser).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()
        time.sleep(3)
    return browser.execute_script(PICTURE)


READY = """
const dialog = document.querySelector('.jp-Dialog .jp-mod-accept');
if (dialog) { dialog.click(); return false; }
return document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=idle]') !== null;
"""
PICTURE = """
const image = document.querySelector('.jp-OutputArea .widget-html img');
if (!image || !image.complete || !image.naturalWidth) return null;
const canvas = document.createElement('canvas');
[canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
canvas.getContext('2d').drawImage(image, 0, 0);
const box = image.getBoundingClientRect();
return {pixels: canvas.toDataURL(), words: image.alt, box: [box.width, box.height]};
"""


@pytest.mark.parametrize("name", CODE)
def test_a_key_moves_the_slider_and_the_picture_changes(lab, browser, name):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    browser.get(f"{lab}/doc/tree/{name}.ipynb?reset")
    wait(lambda: browser.execute_script(READY))
    before = wait(lambda: run_cell(browser))
    handle = browser.find_element(By.CSS_SELECTOR, ".jp-OutputArea .noUi-handle")
    browser.execute_script("arguments[0].focus()", handle)
    ActionChains(browser).send_keys(3*Keys.ARROW_RIGHT).perform()
    after = wait(lambda: (now := browser.execute_script(PICTURE)) and now["pixels"] != before["pixels"] and now)
    if folder := os.environ.get("DL4SMLM_SCREENSHOTS"): browser.save_screenshot(f"{folder}/{name}.png")
    assert after["box"] == before["box"], "the picture changed its size, so that the page jumps"
    assert before["words"] and after["words"], "the picture has no words for those who cannot see it"
    labels = browser.find_elements(By.CSS_SELECTOR, ".jp-OutputArea .widget-label")
    cut = [label.text for label in labels if label.get_property("scrollWidth") > label.get_property("clientWidth") + 1]
    assert not cut, f"labels are cut off: {cut}"
