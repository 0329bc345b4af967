"""Networks by name."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from wpack.architectures import make_model
from wpack.errors import UsageError


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for torchvision and timm, which take seconds to import."""

    def make(name: str, **options: Any) -> nn.Module:
        assert not options.get("weights")
        assert not options.get("pretrained")
        classes = options.pop("num_classes", 1000)
        assert set(options) <= {"weights", "pretrained"}
        model = nn.Linear(2, classes)
        model.name = name  # type: ignore[assignment]
        return model

    torchvision, models = types.ModuleType("torchvision"), types.ModuleType("m")
    torchvision.models = models  # type: ignore[attr-defined]
    models.list_models = lambda module: ["resnet18", "resnet50"]  # type: ignore[attr-defined]
    models.get_model = make  # type: ignore[attr-defined]
    models.plain = lambda: nn.Identity()  # type: ignore[attr-defined]
    timm = types.ModuleType("timm")
    timm.list_models = lambda: ["deit_tiny_patch16_224"]  # type: ignore[attr-defined]
    timm.create_model = make  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    monkeypatch.setitem(sys.modules, "timm", timm)


def message(reference: str, **options: Any) -> str:
    """What is wrong with a name and its options."""
    with pytest.raises(UsageError) as caught:
        make_model(reference, options)
    return str(caught.value)


@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize(
    "reference", ["torchvision:resnet50", "timm:deit_tiny_patch16_224"]
)
def test_library_models(reference: str) -> None:
    """A library's model by its name, with options and without weights."""
    made: Any = make_model(reference, {"num_classes": 3})

    assert reference.partition(":")[2] == made.name
    assert 3 == made.out_features
    assert 1000 == make_model(reference, {"pretrained": False}).out_features


@pytest.mark.usefixtures("libraries")
def test_module_attribute_comes_first() -> None:
    """What a package itself has is the user's function, as of any module."""
    assert isinstance(make_model("torchvision:models.plain", {}), nn.Identity)
    made: Any = make_model("timm:create_model", {"name": "any"})
    assert "any" == made.name
    assert isinstance(make_model("torchvision.models:plain", {}), nn.Identity)


def test_own_models(tmp_path: Path) -> None:
    """A file's or a module's function, relative to the folder."""
    (tmp_path / "mine.py").write_text("from torch.nn import Linear\n")
    options = {"in_features": 1, "out_features": 2}

    assert isinstance(make_model("./mine.py:Linear", options, tmp_path), nn.Linear)
    assert isinstance(make_model("torch.nn:Linear", options), nn.Linear)


@pytest.mark.usefixtures("libraries")
def test_y11_unknown_models() -> None:
    """A name that the library does not list is told with the closest that it does, and
    is not looked for elsewhere."""
    assert (
        "torchvision:resnet5: torchvision has no model 'resnet5' for images of one"
        " class each. Did you mean 'resnet50'?"
    ) == message("torchvision:resnet5")
    assert (
        "timm:hf-hub:some/model: timm has no model 'hf-hub:some/model' for images of"
        " one class each"
    ) == message("timm:hf-hub:some/model")


@pytest.mark.usefixtures("libraries")
def test_no_downloads() -> None:
    """Weights that a library would fetch are refused: the checkpoint has them."""
    assert (
        "timm:deit_tiny_patch16_224: option 'pretrained' would download weights. Leave"
        " it out: the weights are the checkpoint's"
    ) == message("timm:deit_tiny_patch16_224", pretrained=True)
    assert message("torchvision:resnet18", weights="DEFAULT").startswith(
        "torchvision:resnet18: option 'weights' would download weights."
    )


def test_y11_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that brings a library is named."""
    monkeypatch.setitem(sys.modules, "timm", None)

    assert (
        "timm:resnet18: needs timm, which is not installed. pip install 'wpack[vision]'"
    ) == message("timm:resnet18")


def test_y11_broken_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that was built for another torch says so itself."""
    (tmp_path / "timm.py").write_text("raise RuntimeError('no operator nms')\n")
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.syspath_prepend(tmp_path)

    assert (
        "timm:resnet18: timm cannot be imported: no operator nms. Install the release"
        " of it that is made for your torch"
    ) == message("timm:resnet18")


@pytest.mark.parametrize(
    ("reference", "parameters"),
    [
        ("torchvision:resnet18", 11_178_051),
        ("timm:deit_tiny_patch16_224", 5_524_995),
    ],
)
def test_real_libraries(reference: str, parameters: int) -> None:
    """The libraries themselves make the models."""
    library = reference.partition(":")[0]
    pytest.importorskip(library, reason="the extra vision is not installed")
    made = make_model(reference, {"num_classes": 3})

    assert parameters == sum(p.numel() for p in made.parameters())
    assert "resnet18'?" in message(f"{library}:resnet_18")
