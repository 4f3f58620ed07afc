import os
import pickle
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from multidiff.data.decoding import Decoder, Limits, decode_all
from multidiff.data.encoded_file import EncodedFile
from multidiff.errors import InputError
from multidiff.modality import Preparation

LIMITS = Limits(memory=2**28, seconds=0.3)


def crash(signal_number):
    os.kill(os.getpid(), signal_number)


def refuse(path):
    raise InputError(f"{path}: odd")


def count_forever(path):
    sum(range(10**15))


ODD = {
    "refused": refuse,
    "raises": lambda path: {}["key"],
    "segfault": lambda path: crash(signal.SIGSEGV),
    "killed": lambda path: crash(signal.SIGKILL),
    "exits": lambda path: os._exit(3),
    "hangs": lambda path: time.sleep(60),
    "hangs in C": count_forever,
    "memory": lambda path: np.ones(2**28),
}
"""What files do to their decoder, by name."""

REASONS = {
    "refused": "odd",
    "raises": "KeyError: 'key'",
    "segfault": "crashes its decoder (SIGSEGV)",
    "killed": "its decoder was killed, probably for lack of memory",
    "exits": "crashes its decoder (exit status 3)",
    "hangs": "takes more than 0.3 s to decode",
    "hangs in C": "takes more than 0.3 s to decode",
    "memory": "takes more than 0.25 GB of memory to decode",
}


class Names(Preparation):
    """The length of a file's name; what the file does is in `ODD`."""

    def prepare(self, file):
        name = Path(str(file)).name
        self.noted.append(name)
        if name in ODD:
            ODD[name](file)
        return np.full(len(name), os.getpid())

    def sample(self, prepared, random):
        raise NotImplementedError


def outcome(result):
    return str(result) if isinstance(result, InputError) else len(result)


def test_each_odd_file_costs_itself_alone_and_is_named_in_its_place():
    preparation, paths = Names(), []
    for number, name in enumerate(ODD):
        paths += [Path("x" * (number + 1)), Path("folder") / name]
    results = list(map(outcome, decode_all(preparation, paths, LIMITS)))
    assert results[::2] == list(range(1, len(ODD) + 1))
    assert results[1::2] == [f"folder/{name}: {REASONS[name]}" for name in ODD]
    assert sorted(preparation.noted, key=len) == ["x" * n for n in range(1, len(ODD) + 1)]


def test_order_is_kept_however_long_each_takes_and_no_process_is_left():
    class Slow(Names):
        def prepare(self, file):
            time.sleep(0.05 if file.name == "a" else 0)
            return np.array([int(file.name == "a"), os.getpid()])

    results = list(decode_all(Slow(), [Path("a"), *map(Path, "b" * 500)], LIMITS))
    assert [int(result[0]) for result in results] == [1] + [0] * 500
    processes = {int(result[1]) for result in results}
    assert os.getpid() not in processes
    assert not any(Path(f"/proc/{process}").exists() for process in processes)


def test_a_decoder_outlives_its_crashes_and_serves_files_in_memory():
    decoder = Decoder(Names(), LIMITS)
    first, again = (int(decoder(EncodedFile(b"", "abc"))[0]) for _ in range(2))
    assert first == again != os.getpid()
    with pytest.raises(InputError, match=r"^segfault: crashes its decoder"):
        decoder(EncodedFile(b"", "segfault"))
    assert len(decoder(EncodedFile(b"", "four"))) == 4
    assert decoder.preparation.noted == ["abc", "abc", "four"]
    del decoder
    assert not Path(f"/proc/{first}").exists()


def test_a_copy_in_another_process_decodes_in_a_process_of_its_own():
    decoder = Decoder(Names(), LIMITS)
    own = int(decoder(Path("a"))[0])
    receiving, sending = os.pipe()
    if not os.fork():
        os.write(sending, str(int(decoder(Path("a"))[0])).encode())
        os._exit(0)
    other = int(os.read(receiving, 100))
    os.wait()
    assert other not in (own, os.getpid())
    assert int(decoder(Path("a"))[0]) == own
    copy = pickle.loads(pickle.dumps(decoder))
    assert int(copy(Path("a"))[0]) not in (own, other)


def test_the_decoder_of_a_killed_process_ends_with_it():
    receiving, sending = os.pipe()
    if not os.fork():
        os.write(sending, str(int(Decoder(Names(), LIMITS)(Path("a"))[0])).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    process = int(os.read(receiving, 100))
    os.wait()
    end = time.monotonic() + 10
    while Path(f"/proc/{process}/cmdline").exists() and Path(f"/proc/{process}/cmdline").read_bytes():
        assert time.monotonic() < end
        time.sleep(0.01)
