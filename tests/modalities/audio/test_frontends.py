import pytest
import torch

from modalities.audio.frontends import STFT, LevelledSTFT, PatchedWaveform, Waveform

FRONTENDS = [
    Waveform(),
    Waveform(gain=4.0),
    PatchedWaveform(16),
    PatchedWaveform(7, gain=0.5),
    STFT(64, 16),
    STFT(64, 16, clock=True),
    STFT(62, 31, clock=True),
    STFT(64, 32, power=1.0),
    STFT(62, 31, power=0.3, scale=5.0),
    LevelledSTFT(64, 16, bands=4),
    LevelledSTFT(62, 31, power=0.4, scale=2.0, clock=True, bands=6),
]


def waveform(samples=1001, channels=1):
    return torch.randn(channels, samples, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 3


@pytest.mark.parametrize("frontend", FRONTENDS, ids=str)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [1, 64, 1001])
def test_decoding_undoes_encoding(frontend, channels, samples):
    x = waveform(samples, channels).float()
    encoded = frontend.encode(x)
    assert encoded.shape == (channels * frontend.width, frontend.frames(samples))
    decoded = frontend.decode(encoded)
    assert decoded.shape[-1] == frontend.samples(encoded.shape[-1])
    assert 0 <= decoded.shape[-1] - samples < frontend.hop
    torch.testing.assert_close(decoded[:, :samples], x, atol=1e-5, rtol=0)
    torch.testing.assert_close(decoded[:, samples:], torch.zeros_like(decoded[:, samples:]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("frontend", FRONTENDS, ids=str)
def test_any_values_decode_to_a_sound(frontend):
    x = torch.randn(2 * frontend.width, 20, generator=torch.Generator().manual_seed(0))
    decoded = frontend.decode(x)
    assert decoded.shape == (2, frontend.samples(20))
    assert decoded.isfinite().all()


@pytest.mark.parametrize("frontend", FRONTENDS, ids=str)
@pytest.mark.parametrize(("start", "stop"), [(0, 960), (300, 301), (480, 700), (477, 703), (800, 960), (0, 1)])
def test_the_frames_that_touch_a_span_are_those_that_change_with_it(frontend, start, stop):
    x = waveform(960)
    other = x.clone()
    other[:, start:stop] += 1 + torch.rand(stop - start)
    changed = (frontend.encode(other.float()) - frontend.encode(x.float())).abs().amax(dim=0) > 0
    touching = frontend.touching(start, stop)
    assert not changed[: touching.start].any()
    assert not changed[touching.stop :].any()
    # A Hann window is 0 at its first sample, so that a frame can touch what it does not see.
    assert changed[touching.start : touching.stop].sum() >= min(len(touching), len(changed)) - 1


def test_a_patch_is_a_run_of_samples():
    assert torch.equal(PatchedWaveform(3).encode(torch.arange(6.0)[None]), torch.tensor([[0, 3], [1, 4], [2, 5.0]]))
    assert torch.equal(Waveform().encode(torch.arange(6.0)[None]), torch.arange(6.0)[None])


def test_compression_halves_decibels():
    """Twice the level is 6 dB of the sound, and ``2^power`` in what the model sees."""
    frontend, x = STFT(64, 16, power=0.5), waveform().float()
    torch.testing.assert_close(frontend.encode(4 * x), 2 * frontend.encode(x))


def test_a_tone_lies_in_its_bin():
    size, k = 64, 5
    tone = torch.cos(2 * torch.pi * k * torch.arange(2048) / size)[None]
    energy = STFT(size, 16).encode(tone).square().mean(dim=-1)
    bins = size // 2 + 1
    assert (energy[:bins] + torch.nn.functional.pad(energy[bins:], (1, 1))).argmax() == k


@pytest.mark.parametrize(("size", "step"), [(64, 16), (62, 31)])
def test_by_one_clock_a_tone_stands_still(size, step):
    k, phase = 5, 1.0
    tone = torch.cos(2 * torch.pi * k * torch.arange(1024, dtype=torch.float64) / size + phase).float()
    inner = STFT(size, step, clock=True).encode(tone[None])[:, 4:20]
    torch.testing.assert_close(torch.atan2(inner[size // 2 + k], inner[k]), torch.full((16,), phase))


def test_silence_has_no_level_and_ten_times_the_compressed_energy_has_one_more():
    frontend = LevelledSTFT(64, 16, power=1.0, bands=4, floor=1e-9, level_scale=1.0)
    levels = [frontend.encode(gain * waveform().float())[64:] for gain in (0.0, 1.0, 10**0.5)]
    assert not levels[0].any()
    torch.testing.assert_close(levels[2], levels[1] + 1)


@pytest.mark.parametrize("power", [0.4, 1.0])
def test_each_band_gets_its_own_level_back(power):
    """Of two tones in distant bands, in two channels, one loses most of its magnitude in one channel."""
    frontend = LevelledSTFT(64, 16, power=power, bands=4, floor=1e-9, smoothing=1)
    low, high = (torch.cos(2 * torch.pi * k * torch.arange(960) / 64) for k in (5, 24))
    sound = torch.stack([low + high, low - high])
    x = frontend.encode(sound).reshape(2, frontend.width, -1)
    high_bins = torch.arange(33) > 14
    x[0, :64][torch.cat([high_bins, high_bins[1:-1]])] *= 0.1**power
    decoded, inner = frontend.decode(x.flatten(0, 1)), slice(64, -64)
    torch.testing.assert_close(decoded[:, inner], sound[:, inner], atol=0.02, rtol=0)


@pytest.mark.parametrize("power", [0.4, 1.0])
def test_levels_make_no_sound_of_what_is_hardly_there(power):
    """Five decades of energy are 50 dB."""
    frontend = LevelledSTFT(64, 16, power=power, bands=4, floor=1e-9)
    tone = torch.cos(2 * torch.pi * 11.3 * torch.arange(960) / 64)[None]
    x = frontend.encode(tone)
    x[:64] *= 1e-4**power
    inner, gain = slice(64, -64), 1e-4 * 10**2.5
    torch.testing.assert_close(frontend.decode(x)[:, inner], gain * tone[:, inner], atol=0.02 * gain, rtol=0)


def test_frames_that_agree_with_their_levels_stay_as_they_are():
    frontend, sound = LevelledSTFT(64, 16, bands=4), waveform(960).float()
    x = frontend.encode(sound)
    x[64:, 30] += 0.5
    difference = (frontend.decode(x) - sound)[0].abs()
    assert difference[30 * 16 - 32 : 30 * 16 + 32].max() > 0.01
    assert difference[: 30 * 16 - 32].max() < 1e-5
    assert difference[30 * 16 + 32 :].max() < 1e-5


def test_gains_are_smoothed_over_frames():
    """Levels that tremble about the true ones do not make a steady tone tremble."""
    frontend = LevelledSTFT(64, 16, power=1.0, bands=4, floor=1e-9, smoothing=15)
    tone = torch.cos(2 * torch.pi * 11.3 * torch.arange(960) / 64)[None]
    x = frontend.encode(tone)
    x[64:] += torch.tensor([0.1, 0.2, -0.3]).repeat(21)[: x.shape[1]] * frontend.level_scale
    inner = slice(256, -256)
    torch.testing.assert_close(frontend.decode(x)[:, inner], tone[:, inner], atol=0.02, rtol=0)


def test_double_precision_stays():
    x, frontend = waveform(), LevelledSTFT(64, 16, bands=4)
    decoded = frontend.decode(frontend.encode(x))
    assert decoded.dtype == torch.float64
    torch.testing.assert_close(decoded[:, :1001], x, atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore:At least one mel filterbank")
def test_each_band_holds_a_bin():
    for bands in (0, 40):
        with pytest.raises(ValueError, match="each band holds a bin"):
            LevelledSTFT(64, 16, bands=bands)


@pytest.mark.parametrize("step", [0, 3, 64])
def test_windows_must_overlap(step):
    with pytest.raises(ValueError, match="at least twice"):
        STFT(64, step)


def test_settings_out_of_range_are_errors():
    for settings in ({"power": 0.0}, {"power": 1.5}, {"scale": 0.0}):
        with pytest.raises(ValueError, match="above 0"):
            STFT(64, 16, **settings)
    for settings in ({"floor": 0.0}, {"level_scale": 0.0}):
        with pytest.raises(ValueError, match="above 0"):
            LevelledSTFT(64, 16, **settings, bands=4)
    with pytest.raises(ValueError, match="odd number"):
        LevelledSTFT(64, 16, bands=4, smoothing=2)
    for patch, gain in ((0, 1.0), (4, 0.0)):
        with pytest.raises(ValueError, match="at least 1 sample"):
            PatchedWaveform(patch, gain)
