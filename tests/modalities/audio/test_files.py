import tracemalloc

import numpy as np
import pytest
import soundfile

from modalities.audio.blocks import resampled, resampled_blocks
from modalities.audio.clip import AudioClip, limited, true_peak
from modalities.audio.files import SUFFIXES, read_clip, read_metadata, write_clip
from modalities.audio.modality import AudioModality
from modalities.audio.preparation import AudioPreparation
from multidiff.data.encoded_file import EncodedFile
from multidiff.errors import InputError

RATE = 16000
LOSSY = (".ogg", ".mp3")
METADATA = {"condition": "kick", "seed": 2**63 - 1, "story": "ü" * 100}


def tone(frequency=440, seconds=0.5, rate=RATE, amplitude=0.5, channels=1):
    waves = [np.sin(2 * np.pi * frequency * (k + 1) * np.arange(round(seconds * rate)) / rate) for k in range(channels)]
    return AudioClip(amplitude * np.stack(waves), rate)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_written_is_read(tmp_path, suffix, channels):
    clip = tone(channels=channels)
    write_clip(clip, tmp_path / f"a{suffix}", METADATA)
    again = read_clip(tmp_path / f"a{suffix}")
    assert (again.sample_rate, again.channels) == (RATE, channels)
    assert again.waveform.shape == clip.waveform.shape
    middle = slice(RATE // 8, -RATE // 8)  # codecs blur the ends
    tolerance = 0.05 if suffix in LOSSY else 2**-15
    assert np.abs(again.waveform - clip.waveform)[:, middle].max() <= tolerance
    assert read_metadata(tmp_path / f"a{suffix}") == METADATA


@pytest.mark.parametrize(
    ("encoding", "suffix", "subtype", "step"),
    [
        ("16", ".wav", "PCM_16", 2**-15),
        ("24", ".wav", "PCM_24", 2**-23),
        ("float", ".wav", "FLOAT", 0),
        ("24", ".flac", "PCM_24", 2**-23),
        ("float", ".flac", "PCM_24", 2**-23),
        ("float", ".aiff", "FLOAT", 0),
    ],
)
def test_encodings_are_as_fine_as_they_say(tmp_path, encoding, suffix, subtype, step):
    path = tmp_path / f"a{suffix}"
    write_clip(tone(), path, METADATA, encoding)
    assert soundfile.info(path).subtype == subtype
    assert np.abs(read_clip(path).waveform - tone().waveform).max() <= step
    assert read_metadata(path) == METADATA


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_loud_clips_are_attenuated_with_a_warning(tmp_path, suffix, caplog):
    write_clip(tone(amplitude=3.0), tmp_path / f"a{suffix}", {})
    assert f"a{suffix}: attenuated by" in caplog.text
    again = read_clip(tmp_path / f"a{suffix}")
    assert 0.8 < np.abs(again.waveform).max() <= 1
    caplog.clear()
    write_clip(tone(amplitude=0.8), tmp_path / f"b{suffix}", {})
    assert not caplog.text


def test_the_true_peak_lies_between_the_samples():
    """A tone at a quarter of the rate, sampled at 45 degrees, peaks between its samples, sqrt(2) higher."""
    clip = AudioClip(np.sin(np.pi / 2 * np.arange(4000) + np.pi / 4)[None], RATE)
    assert np.abs(clip.waveform).max() == pytest.approx(0.5**0.5, abs=1e-6)
    middle = AudioClip(clip.waveform * np.hanning(4000), RATE)
    assert true_peak(middle) == pytest.approx(1, abs=0.01)
    lower, by = limited(middle, 0.5)
    assert true_peak(lower) <= 0.5
    assert by == pytest.approx(20 * np.log10(true_peak(middle) / 0.5), abs=1e-3)
    assert limited(lower, 0.5) == (lower, 0.0)


def test_resampling_keeps_a_tone():
    clip = tone(440, seconds=1, rate=44100).resampled(RATE)
    expected = tone(440, seconds=1, rate=RATE)
    assert clip.waveform.shape == expected.waveform.shape
    middle = slice(500, -500)
    assert np.abs(clip.waveform - expected.waveform)[:, middle].max() < 1e-3
    assert np.abs(resampled(tone(9000, rate=44100).waveform, 44100, RATE)[:, middle]).max() < 1e-2  # no alias


def test_channels_are_mixed_down_and_spread():
    stereo = tone(channels=2)
    assert np.allclose(stereo.with_channels(1).waveform, stereo.waveform.mean(axis=0), atol=1e-7)
    assert np.array_equal(tone().with_channels(2).waveform, np.repeat(tone().waveform, 2, axis=0))
    with pytest.raises(InputError, match="6 channels cannot be converted to 2"):
        tone(100, channels=6).with_channels(2)


def test_a_clip_cannot_change():
    source = np.zeros((1, 4), dtype=np.float32)
    clip = AudioClip(source, RATE)
    source[:] = 1
    assert not clip.waveform.any()
    with pytest.raises(ValueError, match="read-only"):
        clip.waveform[0, 0] = 1


def test_a_notebook_shows_a_player():
    assert tone()._repr_html_().startswith('<audio controls src="data:audio/wav;base64,UklGR')
    assert repr(tone(channels=2)) == "AudioClip(0.500 s, stereo, 16000 Hz)"


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (np.zeros((1, 0)), RATE, "at least one of each"),
        (np.zeros(5), RATE, r"not \(5,\)"),
        (np.zeros((1, 5)), 0, "at least 1 Hz"),
        (np.array([[0.0, np.nan]]), RATE, "NaN"),
    ],
)
def test_what_is_no_sound(waveform, rate, message):
    with pytest.raises(InputError, match=message):
        AudioClip(waveform, rate)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".aiff"])
def test_every_truncation_is_an_input_error(tmp_path, suffix):
    write_clip(tone(seconds=0.05), tmp_path / f"whole{suffix}", METADATA)
    content = (tmp_path / f"whole{suffix}").read_bytes()
    path = tmp_path / f"cut{suffix}"
    for kept in range(0, len(content) - 1, len(content) // 29):
        path.write_bytes(content[:kept])
        with pytest.raises(InputError, match=f"cut{suffix}: "):
            read_clip(path)


def test_a_truncated_wav_is_called_that(tmp_path):
    write_clip(tone(), tmp_path / "a.wav", {})
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[:-1000])
    with pytest.raises(InputError, match=r"a\.wav: truncated, its last 1000 bytes are missing"):
        read_clip(tmp_path / "a.wav")


def test_files_that_are_no_sound_are_named(tmp_path):
    (tmp_path / "text.wav").write_bytes(b"no sound at all, and long enough")
    with pytest.raises(InputError, match=r"text\.wav: not a sound, or damaged \(.*recognised\)$"):
        read_clip(tmp_path / "text.wav")
    with pytest.raises(InputError, match=r"none\.wav: No such file"):
        read_clip(tmp_path / "none.wav")
    with pytest.raises(InputError, match="Is a directory"):
        read_clip(tmp_path)
    soundfile.write(tmp_path / "empty.wav", np.zeros((0, 1)), RATE)
    with pytest.raises(InputError, match=r"empty\.wav: holds no samples"):
        read_clip(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "nan.wav", np.array([0, np.nan, 0]), RATE, "FLOAT")
    with pytest.raises(InputError, match=r"nan\.wav: there are non-finite samples"):
        read_clip(tmp_path / "nan.wav")


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match=r"suffix is not one of \.wav"):
        write_clip(tone(), tmp_path / "a.txt", {})
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*file/a\.wav"):
        write_clip(tone(), tmp_path / "file/a.wav", {})
    with pytest.raises(InputError, match=r"cannot write .*a\.mp3"):
        write_clip(tone(channels=6, frequency=50), tmp_path / "a.mp3", {})
    assert not [path for path in tmp_path.iterdir() if path.name != "file"]


def test_files_of_other_programs_have_no_metadata(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone().waveform.T, RATE)
    assert read_metadata(tmp_path / "a.wav") == {}


@pytest.mark.parametrize("rate", [11127, 44099, 192001, 15991])
def test_any_ratio_of_rates_is_resampled_in_memory_of_the_clip(rate):
    clip = tone(440, seconds=1, rate=rate).resampled(RATE)
    assert clip.waveform.shape == (1, RATE)
    middle = slice(RATE // 8, -RATE // 8)
    assert np.abs(clip.waveform - tone(440, seconds=1).waveform)[:, middle].max() < 1e-3


def test_a_rate_that_would_blow_up_the_clip_is_refused():
    with pytest.raises(InputError, match="too many"):
        AudioClip(np.zeros((1, 2**20), np.float32), 1).resampled(RATE)


@pytest.mark.parametrize("stated", [0, 0x7FFFF024, 0x80000024, 2**32 - 1])
def test_a_wav_from_a_pipe_is_read(tmp_path, stated):
    path = tmp_path / "a.wav"
    write_clip(tone(), path, {})
    content = bytearray(path.read_bytes())
    content[4:8] = stated.to_bytes(4, "little")
    path.write_bytes(content)
    assert read_clip(path).waveform.shape == (1, RATE // 2)


def claiming(path, samples):
    """The FLAC at ``path``, after its header says that it holds so many samples: 36 bits of STREAMINFO."""
    content = bytearray(path.read_bytes())
    content[21] = content[21] & 0xF0 | samples >> 32
    content[22:26] = (samples % 2**32).to_bytes(4, "big")
    path.write_bytes(content)
    return path


def test_a_streamed_flac_is_read_whole_from_a_path_and_from_a_shard(tmp_path):
    write_clip(clip := tone(seconds=70, channels=2), tmp_path / "a.flac", {}, "24")  # two blocks
    path = claiming(tmp_path / "a.flac", 0)
    for file in (path, EncodedFile(path.read_bytes(), "0.tar/a.flac")):
        again = read_clip(file)
        assert again.waveform.shape == clip.waveform.shape
        assert np.abs(again.waveform - clip.waveform).max() <= 2**-23


@pytest.mark.parametrize("samples", [2**29, 2**36 - 1])
def test_a_header_that_claims_samples_that_are_not_there_takes_no_memory(tmp_path, samples):
    write_clip(tone(seconds=0.01), tmp_path / "a.flac", {})
    path = claiming(tmp_path / "a.flac", samples)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"a\.flac: "):
        read_clip(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**25


def test_reading_takes_the_memory_of_the_sound_and_of_a_block(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((2**22, 2), np.int16), 44100)
    tracemalloc.start()
    clip = read_clip(tmp_path / "a.wav")
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert highest < 1.5 * clip.waveform.nbytes


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_the_limit_of_samples_holds_whatever_the_compression(tmp_path, monkeypatch, suffix):
    soundfile.write(tmp_path / f"a{suffix}", np.zeros((2**17, 2), np.int16), RATE)
    for place in ("files.WHOLE", "files.LARGEST", "files._BLOCK", "preparation.LARGEST"):
        monkeypatch.setattr(f"modalities.audio.{place}", 2**14)
    with pytest.raises(InputError, match=rf"a\{suffix}: more than 16384 samples"):
        read_clip(tmp_path / f"a{suffix}")
    with pytest.raises(InputError, match=rf"a\{suffix}: more than 16384 samples"):
        AudioPreparation(AudioModality(RATE), 0.1).prepare(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("rate", [48000, 44099])
def test_preparing_a_long_sound_takes_the_memory_of_what_is_kept_of_it(tmp_path, monkeypatch, rate):
    for place in ("blocks.BLOCK", "files._BLOCK", "preparation.BLOCK", "loudness.BLOCK"):
        monkeypatch.setattr(f"modalities.audio.{place}", 2**14)
    sound = np.random.default_rng(0).standard_normal((2**20, 2), np.float32)
    soundfile.write(tmp_path / "a.wav", sound / 10, rate)
    preparation = AudioPreparation(AudioModality(8000), 0.1)
    preparation.prepare(tmp_path / "a.wav")  # what is imported and kept at first use
    tracemalloc.start()
    prepared = preparation.prepare(tmp_path / "a.wav")
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert highest < 4 * prepared.nbytes < sound.nbytes / 3  # it is held as float32, and copied as it grows


@pytest.mark.parametrize("new_rate", [8000, 16000, 48000, 44099])
def test_resampling_in_blocks_changes_nothing(monkeypatch, new_rate):
    sound = np.random.default_rng(0).standard_normal((2, 44100), np.float32)
    whole = resampled(sound, 44100, new_rate)
    monkeypatch.setattr("modalities.audio.blocks.BLOCK", 1000)
    assert np.abs(resampled(sound, 44100, new_rate) - whole).max() < 1e-5
    for size in (700, 30000):
        blocks = [sound[:, start : start + size] for start in range(0, 44100, size)]
        again = np.concatenate(list(resampled_blocks(blocks, 44100, new_rate)), axis=1)
        assert again.shape == whole.shape
        assert np.abs(again - whole).max() < 1e-5
