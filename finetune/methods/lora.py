"""Low-rank adapters by peft on the MLPs of CLIP's towers, and plain weights out of them.

Attention is left alone: torch's fused attention reads its weights directly, past any adapter.
"""

from torch import Tensor, nn

from finetune.recipes import LoraConfig

TARGETS = r"base_model\..*\.mlp\.c_(fc|proj)"


def add_lora(model: nn.Module, config: LoraConfig) -> None:
    """In place. Towers are frozen but for their adapters; what stands outside `base_model` is trained, or not, as before."""
    import peft  # seconds: only where it is wanted

    heads = {name for name, parameter in model.named_parameters() if parameter.requires_grad and not name.startswith("base_model.")}
    settings = peft.LoraConfig(r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=TARGETS, bias="none")
    peft.inject_adapter_in_model(settings, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or name in heads)


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict without adapters, which are added into the weights that they adapt. For a model without adapters: its state."""
    deltas = {}
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight") and getattr(module, "lora_A", None):
            deltas[name] = sum(module.get_delta_weight(adapter) for adapter in module.lora_A)
    state = {}
    for name, tensor in model.state_dict().items():
        if ".lora_" in name:
            continue
        if ".base_layer." in name and name.endswith(".weight"):
            tensor = tensor + deltas[name.removesuffix(".base_layer.weight")].to(tensor)
        state[name.replace(".base_layer.", ".")] = tensor.detach().cpu().clone()
    return state
