"""Two wheels, built and used as a stranger would: the library, and the client alone."""

import ast
import importlib.metadata
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image, ImageDraw

from tests.conftest import PROJECT

LIBRARY = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))
CLIENT = tomllib.loads((PROJECT / "serving" / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """{"panet_bus": path, "panet_bus_client": path}, built from copies: a build leaves its own folders beside
    the sources."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    rubbish = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for folder in ("panet_keras", "pipeline", "serving"):
        shutil.copytree(PROJECT / folder, source / folder, ignore=rubbish)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / file, source / file)
    for folder in (source, source / "serving"):
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, folder],
            check=True,
            capture_output=True,
        )
    return {file.name.split("-")[0]: file for file in out.glob("*.whl")}


@pytest.fixture
def fresh(tmp_path):
    """Makes a new environment that has one wheel of ours and borrows everything else from this one: nothing
    is downloaded."""

    def make(wheel):
        folder = tmp_path / "environment"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        python = folder / "bin" / "python"
        install = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--no-deps",
            "--no-index",
            "--quiet",
            wheel,
        ]
        subprocess.run(install, check=True)
        site = next(folder.glob("lib/python*/site-packages"))
        (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        return folder / "bin"

    return make


def run(command, folder):
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, timeout=600
    )
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


def names(wheel):
    return [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]


def test_the_wheels_hold_what_they_should(wheels):
    files = [
        file.relative_to(PROJECT).as_posix()
        for file in (PROJECT / "panet_keras").rglob("*")
        if file.is_file()
    ]
    assert sorted(names(wheels["panet_bus"])) == sorted(file for file in files if "__pycache__" not in file)
    assert {name.split("/")[0] for name in names(wheels["panet_bus_client"])} == {"panet_client"}
    for wheel in wheels.values():
        assert any(name.endswith("licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())


@pytest.mark.slow
def test_the_library_segments_from_its_wheel(wheels, fresh, tmp_path):
    bin_folder = fresh(wheels["panet_bus"])
    where = run(
        [bin_folder / "python", "-c", "import importlib.util as u; print(u.find_spec('panet_keras').origin)"],
        tmp_path,
    )
    assert pathlib.Path(where.strip()).is_relative_to(bin_folder.parent)
    rng = np.random.default_rng(0)
    for name, box in (("a", (40, 60, 110, 110)), ("b", (100, 50, 170, 105))):
        mask = Image.new("L", (224, 192))
        ImageDraw.Draw(mask).ellipse(box, fill=255)
        lesion = np.asarray(mask) > 0
        tissue = 110 * rng.gamma(6.0, 1 / 6, lesion.shape)
        Image.fromarray(np.where(lesion, tissue * 0.2, tissue).clip(0, 255).astype(np.uint8)).save(
            tmp_path / f"{name}.png"
        )
        mask.save(tmp_path / f"{name}_mask.png")
    run(
        [
            bin_folder / "panet-keras",
            "segment",
            "--support",
            "a.png=a_mask.png",
            "--query",
            "b.png",
            "--out",
            "out",
        ],
        tmp_path,
    )
    found, truth = (np.asarray(Image.open(tmp_path / path)) > 0 for path in ("out/b_mask.png", "b_mask.png"))
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8


def test_the_client_works_alone(wheels, fresh, tmp_path):
    bin_folder = fresh(wheels["panet_bus_client"])
    code = """
import sys
sys.modules |= dict.fromkeys(("tensorflow", "keras", "scipy", "panet_keras", "serving"))  # None: to import them is an error
from panet_client.client import Client, ServingError
try:
    with Client("127.0.0.1:9", timeout=5) as client:
        client.set_support([sys.argv[1]], [sys.argv[1]])
except ServingError as error:
    print(error.code.name)
"""
    Image.fromarray(np.eye(40, dtype=np.uint8) * 255).save(tmp_path / "a.png")
    assert run([bin_folder / "python", "-c", code, "a.png"], tmp_path).strip() in (
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
    )
    assert run([bin_folder / "panet-client", "--help"], tmp_path).startswith("usage: panet-client")


def imported(file):
    """(names imported at the top of a file, names imported anywhere in it): first parts, without the standard
    library and relative ones."""
    tree = ast.parse(file.read_text("utf-8"))

    def of(nodes):
        found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        found |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
        return {name.split(".")[0] for name in found} - sys.stdlib_module_names

    return of(tree.body), of(ast.walk(tree))


def distributions(modules):
    known = importlib.metadata.packages_distributions()
    # These namespace packages belong to many; the client's generated code wants protobuf.
    shared = {"google": "protobuf", "opentelemetry": "opentelemetry-sdk"}
    return {shared.get(module) or canonicalize_name(known[module][0]) for module in modules}


def declared(*lists):
    return {canonicalize_name(Requirement(text).name) for items in lists for text in items}


def test_every_import_is_a_declared_dependency():
    files = sorted((PROJECT / "panet_keras").rglob("*.py"))
    # The page is an extra as a whole: nothing else imports it.
    top = set().union(*(imported(file)[0] for file in files if file.parent.name != "annotate"))
    anywhere = set().union(*(imported(file)[1] for file in files))
    own, extras = LIBRARY["project"]["dependencies"], LIBRARY["project"]["optional-dependencies"]
    assert distributions(top - {"panet_keras"}) <= declared(own)
    assert distributions(anywhere - {"panet_keras"}) <= declared(
        own, extras["explain"], extras["dicom"], extras["formats"], extras["annotate"]
    )

    assert CLIENT["project"]["dependencies"] == extras["client"]


def test_every_import_of_the_client_is_declared_or_relative(wheels):
    modules = [PROJECT / "serving" / name.partition("/")[2] for name in names(wheels["panet_bus_client"])]
    anywhere = set().union(*(imported(file)[1] for file in modules))
    assert "serving" not in anywhere, (
        "a module of the client imports serving.x; write it relatively: from .x import y"
    )
    extras = CLIENT["project"]["optional-dependencies"]
    dependencies, ours = CLIENT["project"]["dependencies"], LIBRARY["project"]["optional-dependencies"]
    assert distributions(anywhere) <= declared(dependencies, extras["dicom"], extras["tracing"])
    assert declared(extras["dicom"]) <= declared(ours["dicom"]) and extras["tracing"] == ours["tracing"]


def test_the_lock_lies_within_the_ranges():
    lock = {}
    for line in (PROJECT / "requirements.txt").read_text("utf-8").splitlines():
        if "==" in line and not line.lstrip().startswith("#"):
            locked = Requirement(line)
            lock.setdefault(canonicalize_name(locked.name), []).extend(
                clause.version for clause in locked.specifier
            )
    for text in sum(LIBRARY["project"]["optional-dependencies"].values(), LIBRARY["project"]["dependencies"]):
        wanted = Requirement(text)
        versions = lock[canonicalize_name(wanted.name)]
        assert all(wanted.specifier.contains(version) for version in versions), (
            f"{text}: the lock has {versions}"
        )
