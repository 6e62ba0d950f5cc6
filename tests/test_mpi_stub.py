import os
import platform
import shutil
import struct
import subprocess
import sys

import pytest

from portanet.runtime.mpi_stub import shared_object, write_mpi_stubs

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the stand-ins are for Linux on x86-64"
)
CALLS = """\
import ctypes, sys
mpi = ctypes.CDLL(sys.argv[1])
number, other = ctypes.c_int(-1), ctypes.c_int(-1)
print(mpi.MPI_Initialized(ctypes.byref(number)), number.value)
print(mpi.MPI_Init_thread(None, None, 3, ctypes.byref(number)), number.value)
print(mpi.MPI_Comm_rank(None, ctypes.byref(number)), number.value)
print(mpi.MPI_Comm_size(None, ctypes.byref(other)), other.value)
print(mpi.MPI_Barrier(None), mpi.MPI_Finalize())
print(mpi.MPI_Allreduce(None, None, 0, None, None, None))
world = (ctypes.c_char * 512).in_dll(mpi, "ompi_mpi_comm_world")
print(set(world.raw), ctypes.addressof(world) % 64)
world[511] = b"x"
missing = [name for name in sys.argv[2:] if not hasattr(mpi, name)]
print(missing)
"""


@pytest.fixture
def stubs(tmp_path):
    return write_mpi_stubs(tmp_path)


def names():
    from importlib.resources import files

    return files("portanet.runtime").joinpath("mpi_symbols.txt").read_text().split()


def run(code, *arguments):
    """In another process, under an empty environment, with every symbol bound at once."""
    command = [sys.executable, "-I", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={"LD_BIND_NOW": "1"}, check=True).stdout


def test_they_answer_for_process_0_of_1_and_refuse_the_rest(stubs):
    told = run(CALLS, stubs[0], *names()).splitlines()
    assert told == ["0 0", "0 3", "0 0", "0 1", "0 0", "16", "{0} 0", "[]"]


def test_both_have_the_names_that_cntk_links_against(stubs):
    assert [path.name for path in stubs] == ["libmpi.so.12", "libmpi_cxx.so.1"]
    assert all(os.access(path, os.X_OK) for path in stubs)
    loaded = "import ctypes, sys; [ctypes.CDLL(path, ctypes.RTLD_GLOBAL) for path in sys.argv[1:]]\n"
    loaded += "print([ctypes.CDLL(name)._name for name in ('libmpi.so.12', 'libmpi_cxx.so.1')])"  # by soname
    assert run(loaded, *stubs).strip() == "['libmpi.so.12', 'libmpi_cxx.so.1']"


def test_a_name_that_is_not_there_is_not_found(tmp_path):
    path = tmp_path / "libtwo.so"
    path.write_bytes(shared_object("libtwo.so", {"two": b"\xb8\x02\0\0\0\xc3", "three": b"\xb8\x03\0\0\0\xc3"}))
    code = "import ctypes, sys; lib = ctypes.CDLL(sys.argv[1]); print(lib.two(), lib.three(), hasattr(lib, 'four'))"
    assert run(code, path).split() == ["2", "3", "False"]


def test_code_is_not_writable_and_data_not_executable(stubs):
    image = stubs[0].read_bytes()
    at, count = struct.unpack_from("<Q", image, 32)[0], struct.unpack_from("<H", image, 56)[0]
    flags = [struct.unpack_from("<II", image, at + 56 * i)[1] for i in range(count)]
    assert not any(flag & 2 and flag & 1 for flag in flags)


def test_readelf_has_nothing_to_complain_of(stubs):
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed")
    done = subprocess.run(["readelf", "-hldsDW", str(stubs[0])], capture_output=True, text=True, check=True)
    assert "Warning" not in done.stderr and "Error" not in done.stderr
    assert "Library soname: [libmpi.so.12]" in done.stdout and "MPI_Allreduce" in done.stdout


def test_writing_twice_is_writing_once(stubs, tmp_path):
    before = [path.read_bytes() for path in stubs]
    assert [path.read_bytes() for path in write_mpi_stubs(tmp_path)] == before
    assert len(list(tmp_path.iterdir())) == 2
