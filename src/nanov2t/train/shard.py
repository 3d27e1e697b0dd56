"""Training a model too large for one device, by accelerate's FSDP."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, DistributedType, FullyShardedDataParallelPlugin
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_state_dict,
)

M = TypeVar("M", bound=nn.Module)


def sharding() -> FullyShardedDataParallelPlugin:
    """FSDP in units of a T5 block, the rest of the generator in one of its own."""
    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["T5Block"],
        reshard_after_forward=True,
        cpu_ram_efficient_loading=False,
    )


def allow_cpu(accelerator: Accelerator, plugin: FullyShardedDataParallelPlugin | None) -> None:
    """Shard on CPUs too, where accelerate would silently train whole copies."""
    if plugin is not None and accelerator.distributed_type == DistributedType.MULTI_CPU:
        accelerator.state.fsdp_plugin = plugin
        accelerator.state.distributed_type = DistributedType.FSDP


def is_sharded(model: nn.Module) -> bool:
    return hasattr(model, "unshard")


def copier(model: M) -> Callable[[], M]:
    """A function that returns the model in training for inference, without the autocast that
    accelerate puts into its forward. Make it before accelerate prepares the model.

    The returned model shares its weights with the one in training. If that is sharded, it is a
    whole copy, and every process must call the function.
    """
    on_no_device = {id(p): nn.Parameter(p.to("meta")) for p in model.parameters()}
    blank = copy.deepcopy(model, on_no_device)

    def current() -> M:
        weights: dict[str, Any] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        if is_sharded(model):
            options = StateDictOptions(full_state_dict=True)
            weights = dict(get_model_state_dict(model, options=options))
        # deepcopy takes these for copies it has made: a tensor that is shared stays shared.
        filled: dict[int, Any] = {
            id(p): nn.Parameter(weights[name], requires_grad=False)
            for name, p in blank.named_parameters()
        }
        filled |= {id(b): weights.get(name, b) for name, b in blank.named_buffers()}
        return copy.deepcopy(blank, filled).eval()

    return current


def gather(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and moments, whole, by the names of the parameters; of a sharded model only on the
    first process."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=is_sharded(model))
    weights = _once(model, get_model_state_dict(model, options=options))
    if not optimizer.state:  # before the first step; asked for, it would count one
        return weights, {}
    moments: dict[str, Any] = get_optimizer_state_dict(model, optimizer, options=options)
    return weights, {
        f"{name}.{key}": value
        for name, values in moments.get("state", {}).items()
        for key, value in values.items()
    }


def scatter(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    weights: dict[str, Tensor],
    moments: dict[str, Tensor],
) -> None:
    """Put back, on every process, what :func:`gather` gave."""
    options = StateDictOptions(full_state_dict=True, strict=False)
    if not moments:
        set_model_state_dict(model, dict[str, Any](weights), options=options)
        return
    groups = get_optimizer_state_dict(
        model, optimizer, options=StateDictOptions(full_state_dict=True)
    )["param_groups"]
    state: dict[str, Any] = {}
    for name, value in moments.items():
        parameter, key = name.rsplit(".", 1)
        state.setdefault(parameter, {})[key] = value
    both: dict[str, Any] = {"state": state, "param_groups": groups}
    set_state_dict(
        model,
        optimizer,
        model_state_dict=dict[str, Any](weights),
        optim_state_dict=both,
        options=options,
    )


def _once(model: nn.Module, weights: dict[str, Any]) -> dict[str, Tensor]:
    names = {name for part in (model.named_parameters(), model.named_buffers()) for name, _ in part}
    return {name: weight for name, weight in weights.items() if name in names}
