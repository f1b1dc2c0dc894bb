"""The command line of the simulated engine, which is supervised exactly as vLLM is."""

import sys

from engine.launch import TOKEN_VARIABLE, Command, EngineLaunch

PASSED_ON = ("max_model_len", "max_num_seqs", "max_num_batched_tokens")


def simulated_command(launch: EngineLaunch, profile: str) -> Command:
    """Only the engine arguments that change timing are passed on; the rest have no meaning without weights."""
    flags = ["--model", launch.model, "--host", launch.host, "--port", str(launch.port), "--profile", profile]
    flags += ["--max-queued", str(launch.max_in_flight)]
    for name in PASSED_ON:
        if name in launch.engine_args:
            flags += [f"--{name.replace('_', '-')}", str(launch.engine_args[name])]
    return Command((sys.executable, "-P", "-m", "engine.simulated", *flags), {TOKEN_VARIABLE: launch.internal_token})
