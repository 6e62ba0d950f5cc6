"""Stand-ins for Open MPI 1.10, which CNTK links against and a single process never calls.

CNTK's libraries need ``libmpi.so.12`` and ``libmpi_cxx.so.1`` to be loaded at all. These are written as shared
objects, ELF for x86-64 Linux, byte by byte: no compiler, no root and no ``LD_LIBRARY_PATH``, because CNTK looks into
its own folder first. A few functions tell that this is process 0 of 1; every other one returns an error, which CNTK
raises as an ordinary exception. The format is that of the System V ABI, chapters 4 and 5, and its AMD64 supplement.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from portanet.runtime.whole_file import drafted

__all__ = ["shared_object", "write_mpi_stubs"]

_PAGE = 0x1000
_HEADER, _PROGRAM_HEADER, _SYMBOL = 64, 56, 24
_READ, _READ_RUN, _READ_WRITE = 4, 5, 6
_LOAD, _DYNAMIC_SEGMENT, _GNU_STACK = 1, 2, 0x6474E551
_DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_SYMENT, _DT_SONAME = 4, 5, 6, 10, 11, 14
_OBJECT_SIZE = 512  # of each predefined MPI object, whose address is all that is ever used

_RETURN = b"\xc3"
_SUCCESS = b"\x31\xc0" + _RETURN  # xor eax, eax; ret
_OTHER_ERROR = b"\xb8\x10\0\0\0" + _RETURN  # mov eax, MPI_ERR_OTHER; ret
_ALONE = {
    "MPI_Initialized": b"\xc7\x07\0\0\0\0" + _SUCCESS,  # *rdi = 0
    "MPI_Comm_rank": b"\xc7\x06\0\0\0\0" + _SUCCESS,  # *rsi = 0
    "MPI_Comm_size": b"\xc7\x06\x01\0\0\0" + _SUCCESS,  # *rsi = 1
    "MPI_Init_thread": b"\x89\x11" + _SUCCESS,  # *rcx, the level provided, = edx, the level asked for
    "MPI_Barrier": _SUCCESS,
    "MPI_Finalize": _SUCCESS,
}


def write_mpi_stubs(folder: Path) -> list[Path]:
    """Write both libraries into a folder.

    Parameters
    ----------
    folder : Path
        ``site-packages/cntk/libs``.

    Returns
    -------
    list of Path
    """
    names = files("portanet.runtime").joinpath("mpi_symbols.txt").read_text("ascii").split()
    objects = [name for name in names if name.startswith("ompi_mpi_") and name != "ompi_mpi_cxx_op_intercept"]
    functions = {name: _ALONE.get(name, _OTHER_ERROR) for name in names if name not in objects}
    contents = {
        "libmpi.so.12": shared_object("libmpi.so.12", functions, objects),
        "libmpi_cxx.so.1": shared_object("libmpi_cxx.so.1", {"portanet_mpi_cxx_stub": _RETURN}),
    }
    for name, content in contents.items():
        with drafted(folder / name) as draft:
            draft.write_bytes(content)
            draft.chmod(0o755)
    return [folder / name for name in contents]


def shared_object(soname: str, functions: Mapping[str, bytes], objects: Sequence[str] = ()) -> bytes:
    """A shared object for x86-64 Linux.

    Parameters
    ----------
    soname : str
        The name it is linked by.
    functions : mapping of str to bytes
        Machine code of each exported function.
    objects : sequence of str
        Exported variables of 512 zero bytes each.

    Returns
    -------
    bytes
        Three segments: tables (readable), code (executable), the dynamic section and the variables (writable).

    Examples
    --------
    >>> shared_object("libone.so", {"one": bytes([0xB8, 1, 0, 0, 0, 0xC3])})[:4]
    b'\\x7fELF'
    """
    names = [*functions, *objects]
    strings = "\0".join(["", soname, *names, ""]).encode("ascii")
    hashes = _hash_table(names)
    at_symbols = _HEADER + 5 * _PROGRAM_HEADER
    at_hashes = at_symbols + _SYMBOL * (len(names) + 1)
    at_strings = at_hashes + len(hashes)
    end_of_tables = at_strings + len(strings)
    at_code = _aligned(end_of_tables, _PAGE)
    code, entries = _lay_out(functions, at_code)
    dynamic = _dynamic_section(at_hashes, at_strings, at_symbols, len(strings))
    at_dynamic = _aligned(at_code + len(code), _PAGE)
    at_objects = _aligned(at_dynamic + len(dynamic), 64)
    symbols = _symbol_table(soname, entries, {name: at_objects + i * _OBJECT_SIZE for i, name in enumerate(objects)})
    segments = [
        (_LOAD, _READ, 0, end_of_tables, end_of_tables, _PAGE),
        (_LOAD, _READ_RUN, at_code, len(code), len(code), _PAGE),
        (_LOAD, _READ_WRITE, at_dynamic, len(dynamic), at_objects + len(objects) * _OBJECT_SIZE - at_dynamic, _PAGE),
        (_DYNAMIC_SEGMENT, _READ_WRITE, at_dynamic, len(dynamic), len(dynamic), 8),
        (_GNU_STACK, _READ_WRITE, 0, 0, 0, 16),
    ]
    tables = _headers(segments) + symbols + hashes + strings
    return tables.ljust(at_code, b"\0") + code.ljust(at_dynamic - at_code, b"\0") + dynamic


def _aligned(offset: int, to: int) -> int:
    return -(-offset // to) * to


def _lay_out(functions: Mapping[str, bytes], start: int) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """The code, each function at a multiple of 16, and where each one begins and how long it is."""
    code, entries = b"", {}
    for name, body in functions.items():
        code = code.ljust(_aligned(len(code), 16), b"\xcc")  # int3 between them
        entries[name] = (start + len(code), len(body))
        code += body
    return code, entries


def _symbol_table(soname: str, entries: Mapping[str, tuple[int, int]], objects: Mapping[str, int]) -> bytes:
    """One record for nobody, then one for each name in the order of the string table; all global."""
    table, at_name = bytes(_SYMBOL), len(soname) + 2
    rows = [(name, 0x12, 2, *place) for name, place in entries.items()]  # a function, in section 2
    rows += [(name, 0x11, 3, address, _OBJECT_SIZE) for name, address in objects.items()]  # a variable, in section 3
    for name, kind, section, address, size in rows:
        table += struct.pack("<IBBHQQ", at_name, kind, 0, section, address, size)
        at_name += len(name) + 1
    return table


def _hash_table(names: Sequence[str]) -> bytes:
    """The System V table: the first symbol of each bucket, then for each symbol the next one of its bucket."""
    buckets = [0] * max(1, len(names) // 2)
    chain = [0] * (len(names) + 1)
    for index, name in enumerate(names, start=1):
        bucket = _hash(name) % len(buckets)
        chain[index], buckets[bucket] = buckets[bucket], index
    numbers = [len(buckets), len(chain), *buckets, *chain]
    return struct.pack(f"<{len(numbers)}I", *numbers)


def _hash(name: str) -> int:
    """The hash of a symbol's name, as the System V ABI defines it.

    >>> hex(_hash("printf"))
    '0x77905a6'
    """
    value = 0
    for byte in name.encode("ascii"):
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high & 0xFFFFFFFF
    return value


def _dynamic_section(at_hashes: int, at_strings: int, at_symbols: int, size_of_strings: int) -> bytes:
    rows = [
        (_DT_SONAME, 1), (_DT_HASH, at_hashes), (_DT_STRTAB, at_strings), (_DT_SYMTAB, at_symbols),
        (_DT_STRSZ, size_of_strings), (_DT_SYMENT, _SYMBOL), (0, 0),
    ]  # fmt: skip
    return b"".join(struct.pack("<QQ", tag, value) for tag, value in rows)


def _headers(segments: Sequence[tuple[int, int, int, int, int, int]]) -> bytes:
    """The file's header, of a 64-bit little-endian shared object for x86-64, and the program headers."""
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = identity + struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, _HEADER, 0, 0, _HEADER, _PROGRAM_HEADER, len(segments), 64, 0, 0
    )
    return header + b"".join(
        struct.pack("<IIQQQQQQ", kind, flags, offset, offset, offset, in_file, in_memory, alignment)
        for kind, flags, offset, in_file, in_memory, alignment in segments
    )
