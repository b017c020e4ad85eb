"""The bill of materials of one archive: CycloneDX 1.6, by its own library, checked against its own schema."""

from __future__ import annotations

import email.parser
import uuid
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from cloud_hub.fleet.debian import Deb
from cloud_hub.fleet.errors import WheelhouseError
from cloud_hub.fleet.lock import normalised
from cloud_hub.fleet.targets import Kind, Platform
from cloud_hub.fleet.wheels import PROJECT, sha256_of

_MAX_METADATA_BYTES = 4 * 2**20
_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:millwright:wheelhouse")


@dataclass
class Wheel:
    """What a wheel says of itself. `python`: which versions it is for; `needs`: other packages, and their extras."""

    name: str
    version: str
    sha256: str
    licence: str
    python: str = ""
    needs: list[Requirement] = field(default_factory=list)


def read_wheel(path: Path) -> Wheel:
    """Name, version, licence and requirements, from a wheel's METADATA."""
    with zipfile.ZipFile(path) as file:
        entries = [one for one in file.infolist() if one.filename.endswith(".dist-info/METADATA")]
        entry = next((one for one in entries if one.filename.count("/") == 1), None)
        if entry is None or entry.file_size > _MAX_METADATA_BYTES:
            raise WheelhouseError(f"{path.name} has no METADATA, or one of more than {_MAX_METADATA_BYTES} bytes")
        facts = email.parser.BytesParser().parsebytes(file.read(entry), headersonly=True)
    needs = [Requirement(str(text)) for text in facts.get_all("Requires-Dist", [])]
    return Wheel(
        normalised(facts["Name"]),
        facts["Version"],
        sha256_of(path),
        _licence(facts),
        str(facts["Requires-Python"] or ""),
        needs,
    )


def _licence(facts: Message) -> str:
    """The expression, or a short name; some put the whole text there, which is no name."""
    for value in (facts["License-Expression"], facts["License"]):
        text = str(value or "")  # a header that is not ASCII comes as an object
        if text and "\n" not in text and len(text) <= 100:
            return text
    kinds = [str(value) for value in facts.get_all("Classifier", []) if str(value).startswith("License :: ")]
    return kinds[0].split(" :: ")[-1] if kinds else ""


def _applies(need: Requirement, platform: Platform, extras: Sequence[str]) -> bool:
    return need.marker is None or any(
        need.marker.evaluate({**platform.environment, "extra": extra}) for extra in ("", *extras)
    )


def _of_wheel(wheel: Wheel) -> Component:
    licences = [LicenseFactory().make_from_string(wheel.licence)] if wheel.licence else []
    return Component(
        type=ComponentType.APPLICATION if wheel.name == PROJECT else ComponentType.LIBRARY,
        name=wheel.name,
        version=wheel.version,
        bom_ref=f"pypi:{wheel.name}@{wheel.version}",
        purl=PackageURL("pypi", None, wheel.name, wheel.version),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=wheel.sha256)],
        licenses=licences,
    )


def _of_deb(deb: Deb, platform: Platform) -> Component:
    facts = {"arch": deb.architecture, "distro": f"debian-{platform.release}"}
    return Component(
        type=ComponentType.LIBRARY,
        name=deb.name,
        version=deb.version,
        bom_ref=f"deb:{deb.name}@{deb.version}",
        purl=PackageURL("deb", "debian", deb.name, deb.version, qualifiers=facts),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=deb.sha256)],
    )


def make_sbom(paths: Sequence[Path], debs: Sequence[Deb], *, kind: Kind, platform: Platform, epoch: int) -> str:
    """The document for an archive's wheels (ours too) and Debian packages; the same text from the same content."""
    wheels = {wheel.name: wheel for wheel in map(read_wheel, paths)}
    if len(wheels) != len(paths):
        raise WheelhouseError(f"some package is there in two versions: {', '.join(sorted(p.name for p in paths))}")
    for wheel in wheels.values():
        if not SpecifierSet(wheel.python).contains(platform.python_full):
            raise WheelhouseError(
                f"{wheel.name} {wheel.version} is for Python {wheel.python}, {platform.name} has {platform.python_full}"
            )
    ours = wheels[PROJECT]
    components = {name: _of_wheel(wheel) for name, wheel in wheels.items()}
    packages = [_of_deb(deb, platform) for deb in debs]
    content = "\n".join(
        sorted([*(w.sha256 for w in wheels.values()), *(d.sha256 for d in debs), platform.name, kind.name])
    )
    root = components.pop(PROJECT)
    bom = Bom(
        serial_number=uuid.uuid5(_SPACE, content),
        components=[*components.values(), *packages],
        metadata=BomMetaData(
            component=root,
            timestamp=datetime.fromtimestamp(epoch, UTC),
            properties=[
                Property(name="millwright:kind", value=kind.name),
                Property(name="millwright:platform", value=platform.name),
                Property(name="millwright:python", value=platform.python),
            ],
        ),
    )
    _relate(bom, wheels, {**components, PROJECT: root}, kind, platform)
    bom.register_dependency(root, [_named(packages, name) for name in kind.debs])
    text: str = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)
    if wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise WheelhouseError(f"the SBOM of {PROJECT} {ours.version} does not fit CycloneDX's schema: {wrong!r:.500}")
    return text + "\n"


def _named(packages: Sequence[Component], name: str) -> Component:
    found = next((one for one in packages if one.name == name), None)
    if found is None:
        raise WheelhouseError(f"{name} was asked for, but no Debian package of this name came (is it a virtual one?)")
    return found


def _relate(
    bom: Bom, wheels: dict[str, Wheel], components: dict[str, Component], kind: Kind, platform: Platform
) -> None:
    """Which wheel needs which, on this platform, with the extras that are asked for from our own package on."""
    asked: dict[str, set[str]] = {name: set() for name in wheels}
    asked[PROJECT] = {*kind.extras, *kind.beside}
    todo = list(wheels)
    edges: dict[str, set[str]] = {name: set() for name in wheels}
    while todo:
        name = todo.pop()
        for need in wheels[name].needs:
            if not _applies(need, platform, sorted(asked[name])):
                continue
            other = normalised(need.name)
            if other not in wheels or not need.specifier.contains(wheels[other].version, prereleases=True):
                got = wheels[other].version if other in wheels else "no wheel of it"
                raise WheelhouseError(f"{name} needs {need} on {platform.name}; the archive would have {got}")
            edges[name].add(other)
            if need.extras - asked[other]:
                asked[other] |= need.extras
                todo.append(other)
    for name, others in edges.items():
        bom.register_dependency(components[name], [components[other] for other in sorted(others - {name})])
