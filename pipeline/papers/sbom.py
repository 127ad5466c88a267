"""Bill of materials: the software that a model was made with and is served by, from the lock.

CycloneDX 1.6 in JSON (https://cyclonedx.org). Scanners such as Dependency-Track, Grype and Trivy read it.
"""

import hashlib
import importlib.metadata
import pathlib
import platform
import uuid

from pipeline.errors import PipelineError
from pipeline.orchestration.cache import PROJECT

NAME = "sbom.cdx.json"
LOCK = PROJECT / "requirements.txt"
INSTALL = "pip install 'cyclonedx-python-lib[json-validation]'"


def locked(lock=LOCK):
    """Versions that a lock pins for this Python: list of (name, version), sorted.

    Args:
        lock: file of lines `name==version ; marker`, as uv writes it. What another Python or system would
            get is left out.

    Raises:
        PipelineError: no such file, or a line that pins no version.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        lines = pathlib.Path(lock).read_text("utf-8").splitlines()
    except OSError as error:
        raise PipelineError(f"lock {lock}: {error.strerror}; expected a requirements.txt with ==.") from None
    found = []
    for number, line in enumerate(lines, 1):
        text = line.partition(" #")[0].strip()
        if not text or text.startswith(("#", "-")):
            continue
        try:
            wanted = Requirement(text)
            [pin] = wanted.specifier
        except (InvalidRequirement, ValueError):
            pin = None
        if pin is None or pin.operator != "==":
            raise PipelineError(f"lock {lock}: line {number} is {text[:100]!r}; expected name==version.")
        if wanted.marker is None or wanted.marker.evaluate():
            found.append((wanted.name, pin.version))
    return sorted(found)


def sbom(lock=LOCK, model=None):
    """CycloneDX document, JSON text; but for its time the same for the same lock, Python and model.

    Args:
        lock: see `locked`. model: (name, version) of a model that the document is about; this project
            without one.

    Raises:
        PipelineError: the package is missing; gives the install line.
    """
    try:
        from cyclonedx.model import Property
        from cyclonedx.model.bom import Bom
        from cyclonedx.model.component import Component, ComponentType
        from cyclonedx.model.license import LicenseExpression
        from cyclonedx.output.json import JsonV1Dot6
        from packageurl import PackageURL
    except ImportError as error:
        raise PipelineError(f"no bill of materials can be written: {error}; {INSTALL}") from None

    pins = locked(lock)
    kind = ComponentType.MACHINE_LEARNING_MODEL if model else ComponentType.APPLICATION
    name, version = model or ("panet-bus", _project_version())
    root = Component(name=name, version=version, type=kind, bom_ref=f"{name}@{version}")
    bom = Bom()
    bom.metadata.component = root
    bom.metadata.properties.add(Property(name="panet-bus:python", value=platform.python_version()))
    seed = hashlib.sha256(repr((pins, name, version, platform.python_version())).encode()).hexdigest()
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, seed)
    parts = []
    for package, pinned in pins:
        text = _licence(package, pinned)
        url = PackageURL("pypi", name=package.lower(), version=pinned)
        parts.append(
            Component(
                name=package,
                version=pinned,
                type=ComponentType.LIBRARY,
                bom_ref=str(url),
                purl=url,
                licenses=[LicenseExpression(text)] if text else (),
            )
        )
        bom.components.add(parts[-1])
    bom.register_dependency(root, parts)
    return JsonV1Dot6(bom).output_as_string(indent=1)


def _licence(package, version):
    """SPDX expression of an installed package, where it states one and is of the pinned version; else None."""
    try:
        found = importlib.metadata.metadata(package)
    except importlib.metadata.PackageNotFoundError:
        return None
    return found.get("License-Expression") if found.get("Version") == version else None


def _project_version():
    import tomllib

    return tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
