from __future__ import annotations

import pytest

from autoseg.bundle.writing import export_bundle


@pytest.fixture(scope="session")
def exported_once(trained_once, tmp_path_factory):
    """A bundle of the small trained workspace; not to be changed."""
    path = tmp_path_factory.mktemp("bundles") / "phantoms.zip"
    export_bundle(trained_once / "workspace", path, license_text="CC-BY-4.0")
    return path
