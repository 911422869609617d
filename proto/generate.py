"""Turns the .proto files into the Python stubs under proto/gen, and checks both.

    python proto/generate.py write    make proto/gen anew, without what no .proto file stands behind any more
    python proto/generate.py check    exit 1 and name the files where proto/gen differs from the .proto files
    python proto/generate.py lint     check the .proto files against the rules in buf.yaml

Needs grpcio-tools, mypy-protobuf and buf-bin beside the running Python, and no network.
"""

import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from filecmp import cmp
from pathlib import Path
from shutil import copytree, rmtree

PROTO = Path(__file__).parent
GENERATED = PROTO / "gen"
TOOLS = Path(sys.executable).parent


def main(arguments: list[str]) -> int:
    """Runs the one command that `arguments` names; returns the exit code."""
    commands: dict[str, Callable[[], int]] = {"write": write, "check": check, "lint": lint}
    if len(arguments) != 1 or arguments[0] not in commands:
        print(f"usage: python proto/generate.py {'|'.join(commands)}", file=sys.stderr)
        return 2
    return commands[arguments[0]]()


def write() -> int:
    """Replaces proto/gen by freshly generated stubs."""
    with tempfile.TemporaryDirectory() as folder:
        generate_into(Path(folder))
        # Only now: a mistake in a .proto file must not take the old stubs away.
        rmtree(GENERATED, ignore_errors=True)
        copytree(folder, GENERATED)
    GENERATED.chmod(0o755)  # the temporary folder was private
    print(f"proto/gen: {len(files_below(GENERATED))} files")
    return 0


def check() -> int:
    """Names every file of proto/gen that is missing, left over or different; returns 1 when there is one."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate_into(fresh)
        wanted, found = files_below(fresh), files_below(GENERATED)
        complaints = {
            "is missing": wanted - found,
            "has no .proto file behind it": found - wanted,
            "is not what its .proto file says": {name for name in wanted & found if differs(name, fresh)},
        }
    for complaint, names in complaints.items():
        for name in sorted(names):
            print(f"proto/gen/{name} {complaint}: run `make proto`", file=sys.stderr)
    return 1 if any(complaints.values()) else 0


def lint() -> int:
    """Checks our own .proto files with buf; returns its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        # From source, buf would look for google/*.proto in its registry; a compiled image has them all.
        image = Path(folder) / "image.binpb"
        protoc(proto_files(), f"--descriptor_set_out={image}", "--include_imports", "--include_source_info")
        command = (TOOLS / "buf", "lint", image, "--config", PROTO / "buf.yaml", "--path", "tongdui")
        return subprocess.run(command, check=False).returncode


def generate_into(folder: Path) -> None:
    """Writes messages, services and the type stubs of both below `folder`."""
    plugins = [f"--plugin=protoc-gen-{name}={TOOLS / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    protoc(proto_files(), *plugins, f"--python_out={folder}", f"--mypy_out=quiet:{folder}")
    services = [
        path for path in proto_files() if re.search("^service ", path.read_text("utf-8"), re.MULTILINE)
    ]
    protoc(services, *plugins, f"--grpc_python_out={folder}", f"--mypy_grpc_out=quiet:{folder}")
    for package in {path.parent for path in files_below(folder)}:
        # PEP 561: `tongdui` is a namespace package, so the marker lies in each package below it.
        (folder / package / "py.typed").touch()


def protoc(sources: Iterable[Path], *options: str) -> None:
    """Runs protoc over `sources`; where that fails, ends the program with its exit code."""
    includes = (PROTO, package_folder("grpc_tools") / "_proto", package_folder("google.rpc").parent.parent)
    command = [sys.executable, "-m", "grpc_tools.protoc", *(f"-I{path}" for path in includes), *options]
    finished = subprocess.run([*command, *map(str, sources)], check=False)
    if finished.returncode:
        sys.exit(finished.returncode)


def proto_files() -> list[Path]:
    """Every .proto file of ours."""
    return sorted(PROTO.joinpath("tongdui").rglob("*.proto"))


def package_folder(name: str) -> Path:
    """The folder in which the installed package `name` lies."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"{name} is not installed here: run `make proto` or `make check`, which install it first")
    return Path(next(iter(spec.submodule_search_locations)))


def files_below(folder: Path) -> set[Path]:
    """Every file below `folder` but Python's caches, as paths relative to it."""
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder) for path in found}


def differs(name: Path, fresh: Path) -> bool:
    """Whether the file `name` of proto/gen has other bytes than the one in `fresh`."""
    return not cmp(fresh / name, GENERATED / name, shallow=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
