"""What every test needs: quiet threads before torch is imported, and the material that lies beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

for name, value in {
    "GOMP_SPINCOUNT": "0",
    "OMP_WAIT_POLICY": "passive",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
}.items():
    os.environ.setdefault(name, value)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def golden() -> Path:
    """Committed inputs and expected outputs."""
    return REPOSITORY / "tests" / "golden"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real images and released outputs that lie beside the checkout and are too large to commit."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder `shared` beside the checkout")
    return folder
