"Build the package from settings.ini, the only place where its name, version and requirements are written."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser()
config.read(here / "settings.ini", encoding="utf-8")
settings = config["DEFAULT"]
name = settings["lib_name"]
oldest, newest = int(settings["min_python"].split(".")[1]), 13

setup(
    name=name,
    version=settings["version"],
    description=settings["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=settings["author"],
    author_email=settings["author_email"],
    url=settings["git_url"],
    project_urls={"Documentation": settings["doc_host"] + settings["doc_baseurl"]},
    license="MIT",
    keywords=settings["keywords"].split(),
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Topic :: Scientific/Engineering :: Image Processing",
        *[f"Programming Language :: Python :: 3.{minor}" for minor in range(oldest, newest + 1)],
    ],
    packages=find_packages(include=[name, f"{name}.*"]),
    package_data={name: ["weights/*.json", "weights/*/*"]},  # trained networks, by name
    python_requires=f">={settings['min_python']}",
    install_requires=settings["requirements"].split(),
    extras_require={extra: settings[f"{extra}_requirements"].split() for extra in ("dev", "onnx", "zarr")},
    entry_points={
        "console_scripts": [f"{name}={name}.cli.commands:main"],
        "nbdev": [f"{name}={name}._modidx:d"],
    },
    zip_safe=False,
)
