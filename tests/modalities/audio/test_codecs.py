import copy
import pickle

import pytest
import torch

from modalities.audio.codecs import STFT, BandEnergySTFT, PatchedWaveform, Waveform

CODECS = [
    Waveform(),
    Waveform(gain=4.0),
    PatchedWaveform(16),
    PatchedWaveform(7, gain=0.5),
    STFT(64, 16),
    STFT(64, 16, clock=True),
    STFT(62, 31, clock=True),
    STFT(64, 32, power=1.0),
    STFT(62, 31, power=0.3, scale=5.0),
    BandEnergySTFT(64, 16, bands=4),
    BandEnergySTFT(62, 31, power=0.4, scale=2.0, clock=True, bands=6),
    BandEnergySTFT(64, 16, bands=4, iterations=3),
]


def name(codec):
    settings = [value for value in vars(codec).values() if isinstance(value, int | float)]
    return "-".join(map(str, [type(codec).__name__, *settings[1:]]))


def encoded(codec, x):
    """Of one waveform ``(C, T)``."""
    return codec.encode(x[None])[0]


def decoded(codec, x0):
    return codec.decode(x0[None])[0]


def waveform(samples=1001, channels=1):
    return torch.randn(channels, samples, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 3


@pytest.mark.parametrize("codec", CODECS, ids=name)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [1, 64, 1001])
def test_decoding_inverts_encoding(codec, channels, samples):
    x = torch.stack([waveform(samples, channels).float()] * 3)
    x0 = codec.encode(x)
    assert tuple(x0.shape[1:]) == codec.shape((channels, samples))
    again = codec.decode(x0)
    assert tuple(again.shape[1:]) == codec.data_shape(codec.shape((channels, samples)))
    assert 0 <= again.shape[-1] - samples < codec.hop
    torch.testing.assert_close(again[..., :samples], x, atol=1e-5, rtol=0)
    torch.testing.assert_close(again[..., samples:], torch.zeros_like(again[..., samples:]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("codec", CODECS, ids=name)
def test_any_values_decode_to_a_sound(codec):
    x = torch.randn(3, 2 * codec.width, 20, generator=torch.Generator().manual_seed(0))
    sound = codec.decode(x)
    assert tuple(sound.shape[1:]) == codec.data_shape((2 * codec.width, 20))
    assert sound.isfinite().all()
    torch.testing.assert_close(sound[1:2], codec.decode(x[1:2]))


@pytest.mark.parametrize("codec", CODECS, ids=name)
def test_a_codec_holds_no_state_and_survives_copies(codec):
    assert not codec.state_dict()
    x = waveform().float()
    for copied in (copy.deepcopy(codec), pickle.loads(pickle.dumps(codec))):
        assert torch.equal(encoded(copied, x), encoded(codec, x))


@pytest.mark.parametrize("codec", CODECS, ids=name)
@pytest.mark.parametrize(("start", "stop"), [(0, 960), (300, 301), (480, 700), (477, 703), (800, 960), (0, 1)])
def test_the_region_of_a_span_holds_the_frames_that_change_with_it(codec, start, stop):
    x = waveform(960)
    other = x.clone()
    other[:, start:stop] += 1 + torch.rand(stop - start)
    changed = (encoded(codec, other.float()) - encoded(codec, x.float())).abs().amax(dim=0) > 0
    mask = torch.zeros(1, 960, dtype=torch.bool)
    mask[:, start:stop] = True
    region = codec.region(mask)
    assert tuple(region.shape) == codec.shape((1, 960))
    assert not (changed & ~region[0]).any()
    # A Hann window is 0 at its first sample, so one frame of the region may not depend on it.
    assert changed[region[0]].sum() >= min(int(region[0].sum()), len(changed)) - 1


@pytest.mark.parametrize("codec", CODECS, ids=name)
def test_a_region_of_one_channel_covers_the_frames_of_all(codec):
    mask = torch.zeros(2, 960, dtype=torch.bool)
    mask[1, 300:400] = True
    region = codec.region(mask)
    assert tuple(region.shape) == codec.shape((2, 960))
    assert torch.equal(region, codec.region(mask.flip(0)))
    assert torch.equal(region, region[:1].expand_as(region))


def test_a_patch_is_a_run_of_samples():
    assert torch.equal(encoded(PatchedWaveform(3), torch.arange(6.0)[None]), torch.tensor([[0, 3], [1, 4], [2, 5.0]]))
    assert torch.equal(encoded(Waveform(), torch.arange(6.0)[None]), torch.arange(6.0)[None])


def test_compression_halves_decibels():
    """Twice the amplitude is 6 dB of the sound, and ``2^power`` in x0."""
    codec, x = STFT(64, 16, power=0.5), waveform().float()
    torch.testing.assert_close(encoded(codec, 4 * x), 2 * encoded(codec, x))


def test_a_tone_lies_in_its_bin():
    size, k = 64, 5
    tone = torch.cos(2 * torch.pi * k * torch.arange(2048) / size)[None]
    energy = encoded(STFT(size, 16), tone).square().mean(dim=-1)
    bins = size // 2 + 1
    assert (energy[:bins] + torch.nn.functional.pad(energy[bins:], (1, 1))).argmax() == k


@pytest.mark.parametrize(("size", "step"), [(64, 16), (62, 31)])
def test_by_one_clock_a_tone_has_constant_phase(size, step):
    k, phase = 5, 1.0
    tone = torch.cos(2 * torch.pi * k * torch.arange(1024, dtype=torch.float64) / size + phase).float()
    inner = encoded(STFT(size, step, clock=True), tone[None])[:, 4:20]
    torch.testing.assert_close(torch.atan2(inner[size // 2 + k], inner[k]), torch.full((16,), phase))


def test_silence_has_no_energy_and_ten_times_the_compressed_energy_adds_one():
    codec = BandEnergySTFT(64, 16, power=1.0, bands=4, floor=1e-9, energy_scale=1.0)
    energies = [encoded(codec, gain * waveform().float())[64:] for gain in (0.0, 1.0, 10**0.5)]
    assert not energies[0].any()
    torch.testing.assert_close(energies[2], energies[1] + 1)


@pytest.mark.parametrize("power", [0.4, 1.0])
def test_each_band_gets_its_own_energy_back(power):
    """Of two tones in distant bands, in two channels, one loses most of its magnitude in one channel."""
    codec = BandEnergySTFT(64, 16, power=power, bands=4, floor=1e-9, smoothing=1)
    low, high = (torch.cos(2 * torch.pi * k * torch.arange(960) / 64) for k in (5, 24))
    sound = torch.stack([low + high, low - high])
    x = encoded(codec, sound).reshape(2, codec.width, -1)
    high_bins = torch.arange(33) > 14
    x[0, :64][torch.cat([high_bins, high_bins[1:-1]])] *= 0.1**power
    result, inner = decoded(codec, x.flatten(0, 1)), slice(64, -64)
    torch.testing.assert_close(result[:, inner], sound[:, inner], atol=0.02, rtol=0)


@pytest.mark.parametrize("power", [0.4, 1.0])
def test_gains_are_limited(power):
    """Five decades of energy are 50 dB."""
    codec = BandEnergySTFT(64, 16, power=power, bands=4, floor=1e-9)
    tone = torch.cos(2 * torch.pi * 11.3 * torch.arange(960) / 64)[None]
    x = encoded(codec, tone)
    x[:64] *= 1e-4**power
    inner, gain = slice(64, -64), 1e-4 * 10**2.5
    torch.testing.assert_close(decoded(codec, x)[:, inner], gain * tone[:, inner], atol=0.02 * gain, rtol=0)


@pytest.mark.parametrize("iterations", [0, 4])
def test_frames_that_agree_with_their_energies_are_not_changed(iterations):
    codec, sound = BandEnergySTFT(64, 16, bands=4, iterations=iterations), waveform(960).float()
    x = encoded(codec, sound)
    x[64:, 30] += 0.5
    difference = (decoded(codec, x) - sound)[0].abs()
    assert difference[30 * 16 - 32 : 30 * 16 + 32].max() > 0.01
    assert difference[: 30 * 16 - 32].max() < 1e-5
    assert difference[30 * 16 + 32 :].max() < 1e-5


def test_gains_are_smoothed_over_frames():
    """Energies that fluctuate about the true ones do not make a steady tone fluctuate."""
    codec = BandEnergySTFT(64, 16, power=1.0, bands=4, floor=1e-9, smoothing=15)
    tone = torch.cos(2 * torch.pi * 11.3 * torch.arange(960) / 64)[None]
    x = encoded(codec, tone)
    x[64:] += torch.tensor([0.1, 0.2, -0.3]).repeat(21)[: x.shape[1]] * codec.energy_scale
    inner = slice(256, -256)
    torch.testing.assert_close(decoded(codec, x)[:, inner], tone[:, inner], atol=0.02, rtol=0)


@pytest.mark.parametrize("too_loud", [slice(64), slice(64, None), slice(None)], ids=["sound", "energies", "both"])
def test_no_band_becomes_louder_than_in_the_data(too_loud):
    """Generated levels are wrong by factors under strong guidance; sounds that agree with their energies are exact."""
    settings = {"size": 64, "step": 16, "power": 0.5, "bands": 4, "floor": 1e-9}
    tone = torch.cos(2 * torch.pi * 11.3 * torch.arange(960) / 64)[None]
    config = {"_target_": "modalities.audio.codecs.BandEnergySTFT", **settings}
    codec = BandEnergySTFT(**settings, **BandEnergySTFT.settings_from(config, [0.1 * tone, tone]))
    x = encoded(codec, tone)
    x[too_loud] *= 2
    assert decoded(codec, x)[:, 64:-64].abs().max() < 1.5  # the ends of the tone are louder in other bands
    torch.testing.assert_close(decoded(codec, encoded(codec, 10 * tone)), 10 * tone, atol=1e-4, rtol=0)


def test_each_iteration_brings_the_spectrogram_of_the_sound_nearer_to_its_magnitudes():
    """Griffin and Lim (1984), section III: their squared distance never grows, here from random phases."""
    random = torch.Generator().manual_seed(0)
    wanted = STFT(64, 16, power=1.0).spectrum(waveform(960)[None]).norm(dim=-1, keepdim=True)
    phases = 2 * torch.pi * torch.rand(wanted.shape, generator=random, dtype=torch.float64)
    phases[..., [0, -1], :, :] = 0.0  # the lowest and the highest bin are real
    parts = wanted * torch.cat([phases.cos(), phases.sin()], dim=-1)
    distances = []
    for iterations in range(12):
        codec = BandEnergySTFT(64, 16, power=1.0, bands=4, iterations=iterations)
        nearer = codec.consistent(parts, torch.ones(1, 1, 1, parts.shape[-2], dtype=torch.bool))
        found = codec.spectrum(codec.waveform(nearer)).norm(dim=-1, keepdim=True)
        ends = torch.full((33, 1, 1), 2.0)
        ends[[0, -1]] = 1.0  # bins that have no mirror image
        distances.append(float((ends * (found - wanted) ** 2).sum()))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < distances[0] / 3


def test_double_precision_stays():
    x, codec = waveform(), BandEnergySTFT(64, 16, bands=4)
    result = decoded(codec, encoded(codec, x))
    assert result.dtype == torch.float64
    torch.testing.assert_close(result[:, :1001], x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("codec", CODECS, ids=name)
def test_half_precision_costs_its_rounding_alone(codec):
    x = waveform(960).bfloat16()
    x0 = encoded(codec, x)
    assert x0.dtype == torch.bfloat16
    torch.testing.assert_close(x0.float(), encoded(codec, x.float()), atol=1e-6, rtol=2**-7)
    torch.testing.assert_close(decoded(codec, x0).float(), decoded(codec, x0.float()), atol=1e-6, rtol=2**-7)


@pytest.mark.filterwarnings("ignore:At least one mel filterbank")
def test_each_band_holds_a_bin():
    for bands in (0, 40):
        with pytest.raises(ValueError, match="each of the bands must hold"):
            BandEnergySTFT(64, 16, bands=bands)


@pytest.mark.parametrize("step", [0, 3, 64])
def test_windows_must_overlap(step):
    with pytest.raises(ValueError, match="at least twice step"):
        STFT(64, step)


def test_settings_out_of_range_are_errors():
    for settings in ({"power": 0.0}, {"power": 1.5}, {"scale": 0.0}):
        with pytest.raises(ValueError, match="above 0"):
            STFT(64, 16, **settings)
    for settings in ({"floor": 0.0}, {"energy_scale": 0.0}):
        with pytest.raises(ValueError, match="above 0"):
            BandEnergySTFT(64, 16, **settings, bands=4)
    with pytest.raises(ValueError, match="iterations must be at least 0"):
        BandEnergySTFT(64, 16, bands=4, iterations=-1)
    with pytest.raises(ValueError, match="odd number"):
        BandEnergySTFT(64, 16, bands=4, smoothing=2)
    for patch, gain in ((0, 1.0), (4, 0.0)):
        with pytest.raises(ValueError, match="at least 1 sample"):
            PatchedWaveform(patch, gain)
