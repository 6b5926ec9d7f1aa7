"""The files of a program, and its checkpoints: a folder as one file, as worker/archive of Trellis has it.

It is a tar file in zstd. Python has zstd since 3.14. Packing does without: blocks of zstd may have their content as it
is.
"""

from __future__ import annotations

import copy
import importlib
import io
import os
import re
import struct
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from trellis._errors import Error

# What of a folder is left out, as patterns of .gitignore.
IGNORE_FILE = ".trellisignore"
IGNORED = (
    ".git/", ".hg/", ".svn/", "__pycache__/", "*.pyc", ".venv/", ".ipynb_checkpoints/", ".mypy_cache/", ".pytest_cache/",
    ".ruff_cache/", ".DS_Store",
)  # fmt: skip
# What a folder may have: files, and bytes.
MAX_FILES = 100_000
MAX_BYTES = 1 << 30


def with_files(spec: Mapping[str, Any], upload: Callable[[bytes], str]) -> Mapping[str, Any]:
    """Return a spec whose program's folder of files is uploaded."""
    program = spec.get("program")
    if not isinstance(program, Mapping):
        return spec
    folder = program.get("files")
    if not isinstance(folder, (str, os.PathLike)):
        return spec
    packed, count = pack(Path(folder))
    changed = dict(copy.copy(spec))
    changed["program"] = {**program, "files": {"sha256": upload(packed), "size": len(packed), "count": count}}
    return changed


def pack(folder: Path) -> tuple[bytes, int]:
    """Return a folder as one file, and how many files it has. The same content gives the same bytes."""
    if not folder.is_dir():
        raise Error(f"program.files: {folder} is not a folder")
    ignored = ignore(folder)
    written = io.BytesIO()
    count = size = 0
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, name in _walk(folder, folder, ignored, ()):
            info = tarfile.TarInfo(name)
            if path.is_dir():
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
                continue
            content = path.read_bytes()
            info.mode = 0o755 if os.access(path, os.X_OK) else 0o644
            info.size = len(content)
            count, size = count + 1, size + len(content)
            if count > MAX_FILES or size > MAX_BYTES:
                raise Error(
                    f"program.files: {folder} has more than {MAX_FILES} files or {MAX_BYTES >> 20} MiB: name what the "
                    f"program does not need in {IGNORE_FILE}"
                )
            tar.addfile(info, io.BytesIO(content))
    return _stored(written.getvalue()), count


def _walk(
    root: Path, folder: Path, ignored: Callable[[str, bool], bool], above: tuple[str, ...]
) -> Iterator[tuple[Path, str]]:
    real = os.path.realpath(folder)
    if real in above:
        raise Error(f"program.files: {folder} is a link to a folder that it lies in")
    for path in sorted(folder.iterdir(), key=lambda one: os.fsencode(one.name)):
        name = path.relative_to(root).as_posix()
        if ignored(name, path.is_dir()):
            continue
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
            raise Error(f"program.files: {path} is a link that leads outside the folder")
        if not path.is_dir() and not path.is_file():
            raise Error(f"program.files: {path} is neither a file nor a folder")
        yield path, name
        if path.is_dir():
            yield from _walk(root, path, ignored, (*above, real))


def _stored(data: bytes) -> bytes:
    """Return a frame of zstd that has data as it is."""
    # The magic number; a single segment, with 8 bytes of size.
    parts = [struct.pack("<IBQ", 0xFD2FB528, 0b1110_0000, len(data))]
    most = 1 << 17
    blocks = [data[at : at + most] for at in range(0, len(data), most)] or [b""]
    for at, block in enumerate(blocks):
        # Three bytes: whether it is the last, its type (0: raw), and its size.
        parts += [struct.pack("<I", (len(block) << 3) | (at == len(blocks) - 1))[:3], block]
    return b"".join(parts)


def ignore(folder: Path) -> Callable[[str, bool], bool]:
    """Return what says of a path in a folder whether it is left out."""
    lines = [*IGNORED]
    file = folder / IGNORE_FILE
    if file.is_file():
        lines += file.read_text(encoding="utf-8").splitlines()
    patterns = [_pattern(line) for line in map(str.strip, lines) if line and not line.startswith("#")]

    def ignored(name: str, is_folder: bool) -> bool:
        left_out = False
        for pattern, negated, folders_only in patterns:
            if (is_folder or not folders_only) and pattern.fullmatch(name):
                left_out = not negated
        return left_out

    return ignored


def _pattern(line: str) -> tuple[re.Pattern[str], bool, bool]:
    negated = line.startswith("!")
    line = line.removeprefix("!")
    folders_only = line.endswith("/")
    line = line.rstrip("/")
    # With a slash in it, a pattern is about a path from the folder; else about a name anywhere.
    anywhere = "/" not in line
    text = "(?:.*/)?" if anywhere else ""
    parts = line.removeprefix("/").split("/")
    for at, part in enumerate(parts):
        if part == "**":
            text += ".*" if at == len(parts) - 1 else "(?:.*/)?"
            continue
        text += _glob(part) + ("/" if at < len(parts) - 1 else "")
    return re.compile(text, re.DOTALL), negated, folders_only


def _glob(part: str) -> str:
    text, at = "", 0
    while at < len(part):
        character = part[at]
        end = part.find("]", at + 2) if character == "[" else -1
        if character == "*":
            text += "[^/]*"
        elif character == "?":
            text += "[^/]"
        elif character == "\\" and at + 1 < len(part):
            at += 1
            text += re.escape(part[at])
        elif end > 0:
            inside = part[at + 1 : end].replace("\\", "\\\\")
            text += f"[{'^' + inside[1:] if inside[0] in '!^' else inside}]"
            at = end
        else:
            text += re.escape(character)
        at += 1
    return text


# Modules that read zstd, and what opens a file in each.
_READERS = (
    ("compression.zstd", "ZstdFile"),
    ("backports.zstd", "ZstdFile"),
    ("pyzstd", "ZstdFile"),
    ("zstandard", "open"),
)


def check_unpacking() -> Any:
    """Return what opens a file in zstd."""
    for module, name in _READERS:
        try:
            return getattr(importlib.import_module(module), name)
        except ImportError:
            continue
    raise Error(
        "a program's checkpoint is packed with zstd, which Python has since 3.14: pip install backports.zstd, or use "
        "trellis checkpoint get"
    )


def unpack(packed: Path, to: Path) -> None:
    """Unpack a file into an empty folder: files and folders, and nothing outside it."""
    opener = check_unpacking()
    with opener(packed, "rb") as content, tarfile.open(fileobj=content, mode="r|") as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            if name.is_absolute() or ".." in name.parts or "\\" in member.name or ":" in member.name:
                raise Error(f"the archive has a path that leads outside its folder: {member.name}")
            path = to.joinpath(*name.parts)
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            source = tar.extractfile(member) if member.isreg() else None
            if source is None:
                raise Error(f"the archive has {member.name}, which is neither a file nor a folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            with source, path.open("xb") as file:
                while piece := source.read(1 << 20):
                    file.write(piece)
            if member.mode & 0o111:
                path.chmod(path.stat().st_mode | 0o111)
