"""`baryon plan`: will it fit, before anything starts."""

import re
from dataclasses import asdict
from typing import Annotated

import typer

from cluster.bring_up import auto_device, this_machine
from cluster.commands.output import BAD_INPUT, DOES_NOT_FIT, console, fail, print_json
from cluster.commands.up import ConfigArgument, read_config
from cluster.config import BaryonConfig, ModelConfig
from cluster.placement import Node, Refusal
from cluster.plan import Memory, ModelPlan, plan_model, plan_placement
from cluster.run_folder import store_folder
from cluster.serve_schema import device_of
from engine.launch import Device
from engine.memory_budget import GIB, available_memory_bytes
from engine.weights.errors import ModelStoreError
from engine.weights.model_facts import ModelFacts, ModelFactsError, read_model_facts
from engine.weights.source import Local, parse_source
from engine.weights.store import ModelStore

GPU_GIB = {"a10": 24, "l4": 24, "a100-40": 40, "l40s": 48, "a100": 80, "h100": 80, "h200": 141, "b200": 180}
DEFAULT_GPU = "h100"


def plan(
    config: ConfigArgument = None,
    nodes: Annotated[
        str | None, typer.Option(help="Nodes × GPUs to plan for, e.g. 4x8. Default: this machine.")
    ] = None,
    gpu: Annotated[str, typer.Option(help="GPU to plan for: " + ", ".join(GPU_GIB))] = DEFAULT_GPU,
    json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Will it fit? Weights, KV-cache blocks and tokens, TP degree against heads, placement. Exit code 3: it does not.

    Example: baryon plan baryon.yaml --nodes 4x8 --gpu h100
    """
    settings, _ = read_config(config)
    if gpu not in GPU_GIB:
        fail(f"--gpu {gpu}: known are {', '.join(GPU_GIB)}", BAD_INPUT)
    machines = _nodes(nodes, settings)
    auto = auto_device(machines)
    plans = [_plan_one(m, device_of(m, auto), gpu) for m in settings.models if m.engine == "vllm"]
    placement = plan_placement([(m, device_of(m, auto)) for m in settings.models], machines)
    problems = [f"{p.model}: {problem}" for p in plans for problem in p.problems]
    if isinstance(placement, Refusal):
        problems.append(placement.message)
    placed = [] if isinstance(placement, Refusal) else [asdict(one) for one in placement]
    if json:
        print_json(
            {"fits": not problems, "models": [asdict(p) for p in plans], "placement": placed, "problems": problems}
        )
    else:
        _print(plans, placed, problems)
    if problems:
        raise typer.Exit(DOES_NOT_FIT)


def _plan_one(model: ModelConfig, device: Device, gpu: str) -> ModelPlan:
    memory = Memory(device, GPU_GIB[gpu] * GIB if device == "cuda" else available_memory_bytes())
    return plan_model(model, _facts(model), memory)


def _facts(model: ModelConfig) -> ModelFacts:
    source = parse_source(model.source)
    try:
        if isinstance(source, Local):
            return read_model_facts(source.path)
        folder = ModelStore(store_folder()).materialise(
            source, lambda p: console.print(f"[dim]{p.stage}: {p.note}[/dim]")
        )
        return read_model_facts(folder)
    except (ModelStoreError, ModelFactsError) as error:
        fail(f"{model.name}: {error}", BAD_INPUT)


def _nodes(text: str | None, settings: BaryonConfig) -> list[Node]:
    if text is None:
        return [this_machine(settings)]
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or int(match[1]) < 1:
        fail(f"--nodes {text}: expected NODESxGPUS, e.g. 4x8", BAD_INPUT)
    return [Node(f"node-{number}", float(match[2]), 64.0) for number in range(1, int(match[1]) + 1)]


def _print(plans: list[ModelPlan], placed: list[dict[str, object]], problems: list[str]) -> None:
    for p in plans:
        valid = ", ".join(map(str, p.valid_tensor_parallel_sizes))
        console.print(
            f"[bold]{p.model}[/bold]  {p.architecture}, {p.parameters / 1e6:,.0f} M parameters, "
            f"{p.dtype} on {p.device}\n"
            f"  parallel   tensor {p.tensor_parallel_size} (valid: {valid}), pipeline {p.pipeline_parallel_size}\n"
            f"  weights    {p.weights_bytes_per_rank / GIB:.2f} GiB per rank\n"
            f"  KV cache   {p.kv_cache_bytes_per_rank / GIB:.2f} GiB per rank, "
            f"{p.kv_bytes_per_token_per_rank / 1024:.0f} KiB per token: "
            f"{p.kv_blocks:,} blocks, {p.kv_tokens:,} tokens\n"
            f"  room for   {p.full_length_sequences:,.1f} sequences of {p.max_model_len:,} tokens in each replica"
        )
    for one in placed:
        console.print(f"  placed     {one['model']} on {', '.join(one['nodes'])}")  # type: ignore[arg-type]
    for problem in problems:
        console.print(f"[red]does not fit[/red] {problem}")
    if not problems:
        console.print("[green]It fits.[/green]")
