import errno
import os
import pickle
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from multidiff.data import decoding, machine
from multidiff.data.alarm import tell_what_does_not_hold
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


def interrupt_the_parent(path):
    os.kill(os.getppid(), signal.SIGUSR2)
    time.sleep(0.3)


ODD = {
    "refused": refuse,
    "raises": lambda path: {}["key"],
    "segfault": lambda path: crash(signal.SIGSEGV),
    "killed": lambda path: crash(signal.SIGKILL),
    "exits": lambda path: os._exit(3),
    "hangs": lambda path: time.sleep(60),
    "hangs in C": count_forever,
    "memory": lambda path: np.ones(2**28),
    "signalled": lambda path: crash(signal.SIGUSR1),
    "interrupts": interrupt_the_parent,
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
    for number, name in enumerate(REASONS):
        paths += [Path("x" * (number + 1)), Path("folder") / name]
    results = list(map(outcome, decode_all(preparation, paths, LIMITS)))
    assert results[::2] == list(range(1, len(REASONS) + 1))
    assert results[1::2] == [f"folder/{name}: {REASONS[name]}" for name in REASONS]
    assert sorted(preparation.noted, key=len) == ["x" * n for n in range(1, len(REASONS) + 1)]


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


def test_a_signal_that_the_training_handles_is_none_of_a_decoders_business():
    def handler(number, frame):
        raise AssertionError

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        assert outcome(Decoder(Names(), LIMITS)(Path("signalled"))) == len("signalled")
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_interrupted_decoder_does_not_answer_the_next_file_with_the_interrupted_one():
    def interrupt(number, frame):
        raise KeyboardInterrupt

    decoder = Decoder(Names(), Limits(memory=2**28, seconds=60))
    before = signal.signal(signal.SIGUSR2, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            decoder(Path("interrupts"))
        assert outcome(decoder(Path("next"))) == len("next")
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.mark.parametrize("call", ["Pipe", "os.fork"])
def test_decoders_that_cannot_be_started_say_so_and_those_before_them_end(monkeypatch, call):
    fork, processes, calls = os.fork, [], []

    def recorded():
        process = fork()
        processes.append(process)
        return process

    start = {"Pipe": machine.Pipe, "os.fork": recorded}[call]

    def fail_the_second_time(*arguments):
        calls.append(call)
        if len(calls) > 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return start(*arguments)

    monkeypatch.setattr(decoding, "usable_cores", lambda: 2)
    monkeypatch.setattr(os, "fork", recorded)
    monkeypatch.setattr(f"multidiff.data.machine.{call}", fail_the_second_time)
    with pytest.raises(InputError, match=r"^cannot start a process to decode files: Too many open files$"):
        list(decode_all(Names(), [Path("a"), Path("b")], LIMITS))
    assert processes
    assert not any(Path(f"/proc/{process}").exists() for process in processes)
    calls.clear()
    decoder = Decoder(Names(), LIMITS)
    with pytest.raises(InputError, match="cannot start"):
        decoder(Path("killed"))
    calls.clear()
    assert outcome(decoder(Path("next"))) == len("next")


def test_elsewhere_than_on_linux_time_is_limited_and_what_is_not_is_said(monkeypatch, caplog):
    def lack(path):
        raise MemoryError

    monkeypatch.setattr(decoding, "_FORKS", False)
    monkeypatch.setitem(ODD, "lacks", lack)
    tell_what_does_not_hold.cache_clear()
    timer = signal.setitimer(signal.ITIMER_REAL, 1000)
    try:
        preparation, names = Names(), ("x", "hangs", "lacks", "refused", "xx")
        results = list(map(outcome, decode_all(preparation, list(map(Path, names)), LIMITS)))
        assert outcome(Decoder(preparation, LIMITS)(Path("xxx"))) == 3
        assert 990 < signal.getitimer(signal.ITIMER_REAL)[0] < 1000
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
    late, lacking = "hangs: takes more than 0.3 s to decode", "lacks: needs more memory to decode than is available"
    assert results == [1, late, lacking, "refused: odd", 2]
    assert preparation.noted == ["x", "xx", "xxx"]
    assert "memory has no limit" in caplog.text
    assert len(caplog.messages) == 1
