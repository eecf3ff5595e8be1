"""The wheel and the sdist hold each thing once, and run from another directory."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from places import ROOT

from clipsearch import __version__

PACKAGE_FOLDERS = ("clipsearch", "index", "training")
# What is in the folders of packages for who reads the repository.
FOR_READERS = ("training/LOG.md", "training/README.md", "training/curves/")


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the sdist and the wheel that is built from it.

    They are made of a copy: an installation leaves a list of files behind, and what stands in it
    would be built in even where pyproject.toml forgot it.
    """
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("dist")
    for name in git_files("--cached", "--others", "--exclude-standard", "--", ":!examples"):
        if os.path.lexists(ROOT / name):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name, follow_symlinks=False)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    return out


def git_files(*options: str) -> list[str]:
    command = ["git", "ls-files", "-z", *options]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.split("\0")[:-1]


def source_files(suffix: str = ".py") -> set[str]:
    """Return the modules of the project by the name they have once installed."""
    names = set()
    for folder in PACKAGE_FOLDERS:
        for path in (ROOT / folder).rglob(f"*{suffix}"):
            inside = path.relative_to(ROOT)
            if inside.parts[:2] not in {("clipsearch", "index"), ("clipsearch", "training")}:
                prefix = "" if folder == "clipsearch" else "clipsearch/"
                names.add(prefix + inside.as_posix())
    return names


def data_files() -> set[str]:
    """Return the data files of the repository that ship, by their names once installed."""
    names = set()
    for path in git_files(*PACKAGE_FOLDERS):
        is_link = (ROOT / path).is_symlink()  # clipsearch/index and clipsearch/training
        if not is_link and not path.endswith(".py") and not path.startswith(FOR_READERS):
            names.add(path if path.startswith("clipsearch/") else f"clipsearch/{path}")
    return names


def test_every_folder_with_modules_is_listed_as_a_package() -> None:
    listed = PROJECT["tool"]["setuptools"]["packages"]
    folders = {name.rpartition("/")[0].replace("/", ".") for name in source_files()}
    assert set(listed) == folders | {"clipsearch.builtin_model"}  # weights, no modules


def test_the_wheel_holds_each_module_once(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert len(names) == len(set(names))
    assert {name for name in names if name.endswith(".py")} == source_files()


def test_the_wheel_holds_each_data_file_and_no_other(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith(".py")}
    held = {name for name in names if ".dist-info/" not in name}
    assert held == data_files()
    assert held >= {
        "clipsearch/py.typed",
        "clipsearch/builtin_model/open_clip_config.json",
        "clipsearch/builtin_model/open_clip_model.safetensors",
        "clipsearch/training/configs/small-vit.json",
        "clipsearch/training/recipes/lit.toml",
    }


def test_what_is_built_has_the_version_of_the_module(built: Path) -> None:
    names = {f"clipsearch-{__version__}-py3-none-any.whl", f"clipsearch-{__version__}.tar.gz"}
    assert {path.name for path in built.iterdir()} == names


def test_the_sdist_holds_each_module_once(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    modules = [name for name in names if name.endswith(".py") and name.startswith(PACKAGE_FOLDERS)]
    assert len(modules) == len(set(modules)) == len(source_files())


def test_the_wheel_runs_from_another_directory(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*pip, "--target", str(site), str(wheel)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}

    def run(*arguments: str) -> str:
        program = [sys.executable, "-m", "clipsearch", "--library", str(tmp_path / "library")]
        done = subprocess.run(
            [*program, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = [sys.executable, "-c", "import clipsearch.index as i; print(i.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert str(site) in found.stdout
    photos = sorted((ROOT / "examples" / "photos").rglob("*.jpg"))[:3]
    run("index", *map(str, photos), "--model", "builtin")
    assert len(run("query", "a photo", "--paths", "--all").splitlines()) == len(photos)


def requirements() -> list[Requirement]:
    """Return what the package and its extras need of other packages."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    lines = [*PROJECT["project"]["dependencies"], *(line for extra in extras for line in extra)]
    found = map(Requirement, lines)
    return [requirement for requirement in found if requirement.name != "clipsearch"]


def test_the_lowest_versions_are_those_of_the_project() -> None:
    command = [sys.executable, ROOT / ".ci" / "lowest.py"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    lowest = list(map(Requirement, done.stdout.splitlines()))
    assert {r.name for r in lowest} == {r.name for r in requirements()}
    for requirement in requirements():
        (pinned,) = {r for r in lowest if r.name == requirement.name}
        assert str(pinned.specifier) == str(requirement.specifier).replace(">=", "==")
        assert str(pinned.marker) == str(requirement.marker)


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".ci" / "constraints").iterdir()), ids=lambda p: p.stem
)
def test_the_kept_versions_are_allowed_and_complete(path: Path) -> None:
    pinned = {canonicalize_name(r.name): r for r in map(Requirement, path.read_text().split())}
    assert all(str(r.specifier).startswith("==") and r.url is None for r in pinned.values())
    unkept = {"setuptools", "faiss-cpu"}  # as `pip freeze` has it; for other platforms
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        if name not in unkept:
            (version,) = pinned[name].specifier
            assert requirement.specifier.contains(version.version), requirement
