from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer, GenerationConfig

from adfm.errors import ConfigError
from adfm.models.vlm import VLM
from adfm.types import Prompt

Load = Callable[..., VLM]
MakePrompt = Callable[..., Prompt]


def logits(vlm: VLM, prompt: Prompt) -> Tensor:
    encoded = vlm.encode(prompt)
    return vlm.base(
        input_ids=encoded.token_ids[None],
        position_ids=encoded.positions[:, None],
        mm_encoder_outputs=vlm.features([encoded]),
    ).logits


def update(vlm: VLM, prompt: Prompt) -> None:
    """One large step on everything that trains."""
    trained = [weight for weight in vlm.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1.0)
    logits(vlm, prompt).logsumexp(-1).mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def vlm_layers(vlm: VLM) -> list[bool]:
    """Whether each language layer is recomputed in the backward pass."""
    return [layer.gradient_checkpointing for layer in vlm.base.model.language_model.layers]


@pytest.fixture
def prompt(make_prompt: MakePrompt) -> Prompt:
    return make_prompt("vlm", (112, 112), (64, 128))


def test_frozen_tower_is_outside_of_what_trains(load: Load, prompt: Prompt) -> None:
    vlm = load()
    assert not any("visual" in name for name, _ in vlm.model.named_parameters())
    assert not vlm.tower.visual.training
    assert vlm.base.training
    logits(vlm, prompt).sum().backward()
    assert all(weight.grad is None for weight in vlm.tower.visual.parameters())
    assert all(weight.grad is not None for weight in vlm.base.parameters())


def test_merger_trains_alone(load: Load, prompt: Prompt) -> None:
    vlm = load(freeze=SimpleNamespace(vision=True, merger=False, language=True))
    logits(vlm, prompt).logsumexp(-1).mean().backward()
    trained = {name for name, weight in vlm.base.named_parameters() if weight.grad is not None}
    assert trained
    assert all("merger" in name for name in trained)
    assert trained == {name for name, weight in vlm.base.named_parameters() if weight.requires_grad}


def test_evaluation_has_nothing_to_train(load: Load, lora: SimpleNamespace) -> None:
    vlm = load(train=False, lora=lora, gradient_checkpointing=True)
    assert not any(weight.requires_grad for weight in vlm.model.parameters())
    assert not any(module.training for module in vlm.model.modules())


def test_lora_is_in_the_language_model_only(load: Load, lora: SimpleNamespace, prompt: Prompt) -> None:
    vlm = load(lora=lora, dtype="bfloat16")
    trained = [(name, weight) for name, weight in vlm.model.named_parameters() if weight.requires_grad]
    layers = vlm.base.config.text_config.num_hidden_layers
    assert len(trained) == 2 * 3 * layers
    assert all(".language_model." in name and ".lora_" in name for name, _ in trained)
    assert all(weight.dtype == torch.bfloat16 for _, weight in trained)
    assert not any("lora" in name for name, _ in vlm.tower.visual.named_modules())
    assert torch.isfinite(logits(vlm, prompt)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora": SimpleNamespace(rank=4, alpha=8, dropout=0.0, targets=["q_prj"])}, "no linear layer q_prj; it has"),
        (
            {
                "lora": SimpleNamespace(rank=4, alpha=8, dropout=0.0, targets=["q_proj"]),
                "freeze": SimpleNamespace(vision=True, merger=False, language=False),
            },
            "set model.freeze.vision=true model.freeze.merger=true",
        ),
        ({"path": "no/such-checkpoint"}, "model.path: no/such-checkpoint is neither"),
    ],
)
def test_what_cannot_be_loaded_says_why(load: Load, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(**changes)


def test_other_families_are_refused(load: Load, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ConfigError, match="is a llama; supported families are qwen2_5_vl, qwen3_vl"):
        load(path=str(tmp_path))


def test_gradient_checkpointing_changes_no_gradient(load: Load, prompt: Prompt) -> None:
    gradients = []
    for checkpointing in (False, True):
        vlm = load(gradient_checkpointing=checkpointing)
        assert any(vlm_layers(vlm)) == all(vlm_layers(vlm)) == checkpointing
        assert not any(getattr(module, "gradient_checkpointing", False) for module in vlm.tower.visual.modules())
        logits(vlm, prompt).logsumexp(-1).mean().backward()
        gradients.append(vlm.base.model.language_model.layers[0].mlp.down_proj.weight.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("adapters", [False, True])
def test_reference_is_what_training_started_from(
    load: Load, lora: SimpleNamespace, prompt: Prompt, adapters: bool
) -> None:
    vlm = load(lora=lora if adapters else None)
    start = logits(vlm, prompt).detach()
    with vlm.reference() as reference:
        assert torch.equal(logits(reference, prompt), start)
    for _ in range(2):
        update(vlm, prompt)
    assert not torch.allclose(logits(vlm, prompt), start, atol=1e-3)
    with vlm.reference() as reference:
        assert torch.equal(logits(reference, prompt), start)
        assert (reference is vlm) == adapters
        assert reference.tower is vlm.tower
        assert reference.base.model.language_model.config is vlm.base.model.language_model.config
    assert not torch.allclose(logits(vlm, prompt), start, atol=1e-3)
    assert any(weight.requires_grad for weight in vlm.model.parameters())


def test_reference_keeps_its_own_tower_if_that_trains(load: Load, prompt: Prompt) -> None:
    vlm = load(freeze=SimpleNamespace(vision=False, merger=False, language=False))
    start = logits(vlm, prompt).detach()
    with vlm.reference():
        update(vlm, prompt)
    with vlm.reference() as reference:
        torch.testing.assert_close(logits(reference, prompt), start, atol=1e-5, rtol=1e-5)


def test_full_export_is_an_ordinary_checkpoint(load: Load, prompt: Prompt, folder: Path, tmp_path: Path) -> None:
    vlm = load()
    update(vlm, prompt)
    vlm.save(tmp_path / "export")
    expected = logits(vlm, prompt)
    stock, info = AutoModelForImageTextToText.from_pretrained(tmp_path / "export", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert stock.dtype == torch.float32
    assert stock.config.text_config.use_cache
    encoded = vlm.encode(prompt)
    inputs = {"input_ids": encoded.token_ids[None], "position_ids": encoded.positions[:, None]}
    torch.testing.assert_close(stock(**inputs, mm_encoder_outputs=vlm.features([encoded])).logits, expected)
    assert GenerationConfig.from_pretrained(tmp_path / "export").temperature == (
        GenerationConfig.from_pretrained(folder).temperature
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "export")
    assert tokenizer.chat_template == vlm.tokenizer.chat_template
    processor = AutoImageProcessor.from_pretrained(tmp_path / "export", backend="pil")
    assert processor.size["longest_edge"] == vlm.config.max_pixels
    assert torch.equal(logits(load(path=str(tmp_path / "export"), train=False), prompt), expected)


def test_weights_keep_the_names_and_the_dtype_of_the_hub(load: Load, folder: Path, tmp_path: Path) -> None:
    load().save(tmp_path / "export", dtype=torch.bfloat16)
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    saved = AutoModelForImageTextToText.from_pretrained(tmp_path / "export")
    original = AutoModelForImageTextToText.from_pretrained(folder)
    assert saved.dtype == torch.bfloat16
    for (name, weight), (_, other) in zip(saved.named_parameters(), original.named_parameters(), strict=True):
        assert torch.equal(weight, other), name
    with safe_open(tmp_path / "export" / "model.safetensors", framework="pt") as file:
        assert set(file.keys()) == set(index)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lora_export_loads_as_adapter_and_merged(
    load: Load, lora: SimpleNamespace, prompt: Prompt, folder: Path, tmp_path: Path, dtype: str
) -> None:
    vlm = load(lora=lora, dtype=dtype)
    for _ in range(2):
        update(vlm, prompt)
    vlm.model.eval()
    expected = logits(vlm, prompt)
    vlm.save(tmp_path / "adapter")
    vlm.save(tmp_path / "merged", merged=True)
    assert torch.equal(logits(vlm, prompt), expected)

    adapter = load(path=str(tmp_path / "adapter"), train=False, dtype=dtype)
    assert torch.equal(logits(adapter, prompt), expected)
    merged = load(path=str(tmp_path / "merged"), train=False, dtype=dtype)
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    tolerance = 1e-4 if dtype == "float32" else 0.1
    torch.testing.assert_close(logits(merged, prompt), expected, atol=tolerance, rtol=tolerance)
    stock = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(folder), tmp_path / "adapter")
    assert sum("lora_A" in name for name, _ in stock.named_modules()) > 0
    assert not any("lora" in name and "visual" in name for name, _ in stock.named_modules())


def test_saved_adapter_is_trained_on_and_is_the_reference(
    load: Load, lora: SimpleNamespace, prompt: Prompt, tmp_path: Path
) -> None:
    first = load(lora=lora)
    for _ in range(2):
        update(first, prompt)
    first.save(tmp_path / "adapter")
    start = logits(first, prompt).detach()

    vlm = load(lora=lora, path=str(tmp_path / "adapter"))
    torch.testing.assert_close(logits(vlm, prompt), start)
    trained = {name for name, weight in vlm.model.named_parameters() if weight.requires_grad}
    update(vlm, prompt)
    with vlm.reference() as reference:
        torch.testing.assert_close(logits(reference, prompt), start)
    assert not torch.allclose(logits(vlm, prompt), start, atol=1e-3)
    assert {name for name, weight in vlm.model.named_parameters() if weight.requires_grad} == trained
    vlm.save(tmp_path / "further")
    assert torch.equal(logits(load(path=str(tmp_path / "further"), train=False), prompt), logits(vlm, prompt))

    with pytest.raises(ConfigError, match=r"set model\.lora\.rank=4"):
        load(lora=SimpleNamespace(**{**vars(lora), "rank": 8}), path=str(tmp_path / "adapter"))
    with pytest.raises(ConfigError, match=r"set model\.lora to go on training it"):
        load(path=str(tmp_path / "adapter"))


def test_saving_replaces_a_folder_whole(load: Load, tmp_path: Path) -> None:
    export = tmp_path / "export"
    export.mkdir()
    (export / "stale.txt").write_text("from before")
    load(train=False).save(export)
    assert not (export / "stale.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_template_of_the_processor_counts(load: Load, folder: Path, tmp_path: Path) -> None:
    expected = load(train=False).tokenizer.chat_template
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    settings = tmp_path / "tokenizer_config.json"
    content = {name: value for name, value in json.loads(settings.read_text()).items() if name != "chat_template"}
    settings.unlink()
    settings.write_text(json.dumps(content))
    assert load(train=False, path=str(tmp_path)).tokenizer.chat_template == expected


def test_tokenizer_splits_digits(folder: Path) -> None:
    assert Tokenizer.from_file(str(folder / "tokenizer.json")).encode("1234").tokens == ["1", "2", "3", "4"]
