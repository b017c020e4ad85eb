"""The manifest: everything about a bundle that is not weights, so that nothing has to be copied by hand.

Described for other implementations in FORMAT.md. Decoding checks every bound; unknown fields are passed over, unknown
feature kinds are refused (`BundleSpecError`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from models.contract.ids import Id, Sha256
from models.contract.messages import LongText, Text
from models.errors import BundleFormatError, BundleSpecError, BundleTooNewError

FORMAT_MAJOR = 1
FORMAT = "1.1"
MAX_FEATURES = 4096
MAX_WINDOW = 131_072
MAX_OUTPUTS = 4 * MAX_FEATURES
MAX_AXES = 32

Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
Finite = Annotated[float, msgspec.Meta(ge=-1e30, le=1e30)]


class InputSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the network listens to. `window` and `hop` in samples. `axes`: names in order, as the point has them."""

    quantity: Text
    units: Text
    axes: Annotated[list[Text], msgspec.Meta(min_length=1, max_length=MAX_AXES)]
    rate_hz: Positive
    window: Annotated[int, msgspec.Meta(ge=4, le=MAX_WINDOW)]
    hop: Annotated[int, msgspec.Meta(ge=1, le=MAX_WINDOW)]


class LogBands(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="log_bands"):
    """Per axis: log10 of the mean-square amplitude in `bands` logarithmically spaced bands, low_hz to high_hz."""

    bands: Annotated[int, msgspec.Meta(ge=1, le=512)]
    low_hz: Positive
    high_hz: Positive
    floor: Positive = 1e-12


class EnvelopeBands(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="envelope_bands"):
    """Per axis: the same of the squared-envelope spectrum of the carrier band, relative to the envelope's mean."""

    carrier_low_hz: Positive
    carrier_high_hz: Positive
    bands: Annotated[int, msgspec.Meta(ge=1, le=512)]
    low_hz: Positive
    high_hz: Positive
    floor: Positive = 1e-12


class Shape(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="shape"):
    """Per axis: log10 RMS, log10 crest factor, log10 kurtosis of the detrended window."""

    floor: Positive = 1e-12


class Moments(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="moments"):
    """Per axis, for slow signals: mean, slope per window of the least-squares line, deviation about that line."""


class Levels(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="levels"):
    """Per axis, for slow signals, of the window's last `span` samples: mean, and log10 of sqrt(variance + floor^2).

    `floors`: one per axis, in its unit. A coarse sensor repeats one value for a whole window: without a floor of the
    size of its usual deviation the logarithm then falls to minus infinity, and such windows, not the machine, decide
    how wide "healthy" is. `drifting`: axes, by index, whose mean is taken relative to the mean of the window's earlier
    samples, because their level says nothing: heat follows the day.
    """

    span: Annotated[int, msgspec.Meta(ge=2, le=MAX_WINDOW)]
    floors: Annotated[list[Positive], msgspec.Meta(min_length=1, max_length=MAX_AXES)]
    drifting: Annotated[list[Annotated[int, msgspec.Meta(ge=0, lt=MAX_AXES)]], msgspec.Meta(max_length=MAX_AXES)] = []


class SegmentMeans(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="segment_means"):
    """Per axis: the means of `segments` equal consecutive parts of the window, oldest first; with as many segments as
    samples, the samples themselves. Source: piecewise aggregate approximation, Keogh et al. 2001.
    """

    segments: Annotated[int, msgspec.Meta(ge=1, le=512)]


class ClipStatistic(msgspec.Struct, frozen=True, kw_only=True):
    """One statistic of a window's log-mel frames, `size` features. Over the frames, per band: `mean`; `high`, the mean
    of the largest tenth; 20 log10 of the standard deviation (`deviation`) and of the root mean square step between
    frames (`change`). Runs of neighbouring bands are averaged down to `size`, which divides the number of bands. For
    `cepstral_deviation` and `cepstral_change` the same of the first `size` coefficients of each frame's cosine
    transform.
    """

    kind: Literal["mean", "high", "deviation", "change", "cepstral_deviation", "cepstral_change"]
    size: Annotated[int, msgspec.Meta(ge=1, le=512)]


class LogMel(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="log_mel"):
    """Per axis, for sound: log-mel frames over the window, and statistics of them. See `models.signal.mel`."""

    n_fft: Annotated[int, msgspec.Meta(ge=16, le=16_384)] = 1024
    hop: Annotated[int, msgspec.Meta(ge=1, le=16_384)] = 512
    mels: Annotated[int, msgspec.Meta(ge=1, le=512)] = 128
    low_hz: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = 0.0
    high_hz: Positive
    floor: Positive = 2.220446049250313e-16
    statistics: Annotated[list[ClipStatistic], msgspec.Meta(min_length=1, max_length=16)]


FeatureBlock = LogBands | EnvelopeBands | Shape | Moments | Levels | LogMel | SegmentMeans


class FeatureSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How windows become features. Computed by `models.signal.features`, on the hub and on the gateway alike."""

    version: Literal[1] = 1
    detrend: Literal["none", "constant", "linear"] = "constant"
    blocks: Annotated[list[FeatureBlock], msgspec.Meta(min_length=1, max_length=16)]


class Normalisation(msgspec.Struct, frozen=True, kw_only=True):
    """(features - mean) / scale, clipped to +-clip, is what the network sees. One entry per feature."""

    mean: Annotated[list[Finite], msgspec.Meta(min_length=1, max_length=MAX_FEATURES)]
    scale: Annotated[list[Positive], msgspec.Meta(min_length=1, max_length=MAX_FEATURES)]
    clip: Positive = 6.0


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """One end of the network: real = scale * (q - zero_point), q int8."""

    size: Annotated[int, msgspec.Meta(ge=1, le=MAX_OUTPUTS)]
    scale: Positive
    zero_point: Annotated[int, msgspec.Meta(ge=-128, le=127)]


class NetworkSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Both ends of `model.tflite`; the agent compares them with what the file itself says."""

    input: Tensor
    output: Tensor


class ResidualScore(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="residual"):
    """raw score = sqrt(sum_j weights_j * (z_j - y_j)^2 / sum_j weights_j): z the unclipped normalised features, y the
    network's reconstruction of them. A root, so that twice the deviation is twice the score.
    """

    weights: Annotated[list[Annotated[float, msgspec.Meta(ge=0, le=1e9)]], msgspec.Meta(max_length=MAX_FEATURES)]


class ScoreGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Features that are scored together, by index. `scale`: the raw score of this group that counts as 1."""

    name: Text
    features: Annotated[
        list[Annotated[int, msgspec.Meta(ge=0, lt=MAX_FEATURES)]], msgspec.Meta(min_length=1, max_length=MAX_FEATURES)
    ]
    scale: Positive


class StackedScore(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="stacked"):
    """Several reconstructions in one network, and groups of features.

    The network's output is `members` reconstructions one after the other, `weights` likewise. For each group, each
    member m has e_m = sum_j w_mj (z_j - y_mj)^2 over the group's features. `join` "mean": sum_m e_m / sum_m sum_j w_mj;
    "nearest": the smallest of e_m / sum_j w_mj, as of the nearest of several healthy states. The root of that, divided
    by the group's `scale`, is the group's score; the largest of them is the raw score. Without groups: all features
    are one, of scale 1.
    """

    members: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    join: Literal["mean", "nearest"] = "mean"
    groups: Annotated[list[ScoreGroup], msgspec.Meta(max_length=32)] = []
    weights: Annotated[list[Annotated[float, msgspec.Meta(ge=0, le=1e9)]], msgspec.Meta(max_length=MAX_OUTPUTS)]


class RemainingLifeScore(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="remaining_life"):
    """raw score = horizon / max(y, horizon / 1000): y is the network's one output, the remaining life in `unit`.

    Absolute: it is 1 when `horizon` is left, so points do not calibrate themselves.
    """

    horizon: Positive
    unit: Text = "cycles"


ScoreSpec = ResidualScore | StackedScore | RemainingLifeScore


class CalibrationSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How a point learns its own limit from its first `windows` healthy windows: see `models.signal.calibrate`.

    `shift_weight`: the weight, in windows, of the training set's feature means against the point's own. `least_limit`:
    no point's limit is below; 1 where the score's groups are already scaled to their limit.
    """

    windows: Annotated[int, msgspec.Meta(ge=8, le=100_000)]
    z: Positive
    min_spread: Positive
    shift_weight: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = 8.0
    least_limit: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = 0.0


class DecisionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """From calibrated scores to verdicts: `alarm` when at least `n` of the last `m` scores are over `alarm_level`; back
    to `ok` when `clear_windows` scores in a row are under `clear_level`. `warn` likewise over `warn_level`.

    `clear_of_peak`: the alarm also ends when `clear_windows` scores in a row are under that share of the episode's peak
    (the largest of its medians over `peak_windows` scores). The machine may then have settled elsewhere: all
    levels are multiplied by `rearm` times the median of the last m scores, where that is over 1; the factor only falls,
    with that median. See `models.signal.decide`.
    """

    n: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    m: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    warn_level: Positive = 0.8
    alarm_level: Positive = 1.0
    clear_level: Positive = 0.7
    clear_windows: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 10
    clear_of_peak: Annotated[float, msgspec.Meta(gt=0, lt=1)] | None = None
    peak_windows: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 6
    rearm: Annotated[float, msgspec.Meta(ge=1, le=1e6)] = 1.5


class Budgets(msgspec.Struct, frozen=True, kw_only=True):
    """What the network may cost on a gateway: median time of one window through features and network, and the growth
    of resident memory when it is loaded.
    """

    window_us: Positive
    memory_kb: Positive


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where a bundle comes from. `data`: name to SHA-256 of what it was trained on."""

    created_s: Annotated[int, msgspec.Meta(ge=0, le=10**11)]
    data: dict[Text, Sha256]
    windows_train: int
    windows_validation: int
    code: Text
    libraries: dict[Text, Text]
    seed: int
    accepted: LongText | None = None


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """Digest and length of one other file of the bundle."""

    name: Text
    sha256: Sha256
    length: Annotated[int, msgspec.Meta(ge=0, le=64 * 2**20)]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The whole manifest."""

    schema: str = FORMAT
    slot: Id
    version: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}\Z")]
    family: Id
    title: Text
    input: InputSpec
    features: FeatureSpec
    normalisation: Normalisation
    network: NetworkSpec
    score: ScoreSpec
    calibration: CalibrationSpec
    decision: DecisionSpec
    budgets: Budgets
    golden_tolerance: Positive
    provenance: Provenance
    members: Annotated[list[Member], msgspec.Meta(max_length=16)] = []


class _Kinds(msgspec.Struct):
    kind: str = ""


class _FeatureKinds(msgspec.Struct):
    version: int = 1
    blocks: list[_Kinds] = []


class _Peek(msgspec.Struct):
    """The few fields that tell *why* a manifest cannot be read."""

    schema: str = FORMAT
    features: _FeatureKinds = msgspec.field(default_factory=_FeatureKinds)
    score: _Kinds = msgspec.field(default_factory=_Kinds)


FEATURE_KINDS = ("log_bands", "envelope_bands", "shape", "moments", "levels", "log_mel", "segment_means")
SCORE_KINDS = ("residual", "stacked", "remaining_life")


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest's bytes: JSON, fields in the order of the class, indented for people, a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def decode_manifest(data: bytes, where: str) -> Manifest:
    """Decode and check a manifest.

    Raises: BundleTooNewError: another major version. BundleSpecError: a feature or score kind that this release does
            not implement. BundleFormatError: anything else that is wrong, with the field.
    """
    try:
        peek = msgspec.json.decode(data, type=_Peek)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleFormatError(f"{where}: not a manifest: {error}") from error
    if peek.schema.split(".")[0] != str(FORMAT_MAJOR):
        raise BundleTooNewError(f"{where}: bundle format {peek.schema}, this release reads {FORMAT_MAJOR}.x")
    unknown = [block.kind for block in peek.features.blocks if block.kind not in FEATURE_KINDS]
    if unknown or peek.features.version != 1:
        raise BundleSpecError(
            f"{where}, features: version {peek.features.version} with kinds {unknown or 'known'}; this release "
            f"implements version 1 with {', '.join(FEATURE_KINDS)}"
        )
    if peek.score.kind not in SCORE_KINDS:
        raise BundleSpecError(f"{where}, score: kind {peek.score.kind!r}; known: {', '.join(SCORE_KINDS)}")
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleFormatError(f"{where}: {error}") from error
    _check_sizes(manifest, where)
    return manifest


def _check_sizes(manifest: Manifest, where: str) -> None:
    score = manifest.score
    sizes = {
        "normalisation.mean": len(manifest.normalisation.mean),
        "normalisation.scale": len(manifest.normalisation.scale),
        "network.input.size": manifest.network.input.size,
    }
    outputs = {"network.output.size": manifest.network.output.size}
    if isinstance(score, RemainingLifeScore):
        members = 0
    else:
        members = score.members if isinstance(score, StackedScore) else 1
        outputs["score.weights"] = len(score.weights)
    features = sizes["network.input.size"]
    if len(set(sizes.values())) != 1 or set(outputs.values()) != {members * features or 1}:
        raise BundleFormatError(
            f"{where}: one number of features is expected everywhere, and {members or 'one value instead of'} times as "
            f"many outputs, got {sizes | outputs}"
        )
    for block in manifest.features.blocks:
        if isinstance(block, Levels):
            _check_levels(block, manifest.input, where)
    if isinstance(score, StackedScore):
        _check_groups(score.groups, features, where)
    if manifest.input.hop > manifest.input.window:
        raise BundleFormatError(f"{where}, input: hop {manifest.input.hop} is over the window {manifest.input.window}")
    if manifest.decision.n > manifest.decision.m:
        raise BundleFormatError(f"{where}, decision: n {manifest.decision.n} is over m {manifest.decision.m}")


def _check_levels(block: Levels, source: InputSpec, where: str) -> None:
    if len(block.floors) != len(source.axes) or any(axis >= len(source.axes) for axis in block.drifting):
        raise BundleFormatError(
            f"{where}, features: levels has {len(block.floors)} floors and drifting axes {block.drifting} for "
            f"{len(source.axes)} axes"
        )
    if block.span > source.window - bool(block.drifting):
        raise BundleFormatError(
            f"{where}, features: levels spans {block.span} samples of a window of {source.window}, and drifting axes "
            "need samples before them"
        )


def _check_groups(groups: list[ScoreGroup], features: int, where: str) -> None:
    """Every feature in one group, when there are groups at all."""
    listed = sorted(j for group in groups for j in group.features)
    if groups and listed != list(range(features)):
        raise BundleFormatError(
            f"{where}, score.groups: expected each of {features} features in one group, got {len(listed)} places for "
            f"{len(set(listed))} features"
        )
