"""`python -m engine.simulated --model NAME --port PORT --profile PROFILE`: keeps time, has no weights."""

import argparse
import os

import uvicorn

from engine.guard import Application, RouteGuard
from engine.launch import TOKEN_VARIABLE
from engine.simulated.api import SimulatedApi
from engine.simulated.core import SimulatedEngine
from engine.simulated.profiles import ProfileError, get_profile


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m engine.simulated", description="A simulated engine.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--max-queued", type=int, default=256)
    parser.add_argument("--max-model-len", type=int, default=131_072)
    parser.add_argument("--max-num-seqs", type=int, default=256)
    parser.add_argument("--max-num-batched-tokens", type=int, default=8192)
    arguments = parser.parse_args()
    try:
        profile = get_profile(arguments.profile)
    except ProfileError as error:
        parser.error(str(error))
    engine = SimulatedEngine(profile, arguments.max_queued, arguments.max_num_batched_tokens, arguments.max_num_seqs)
    max_model_len = min(arguments.max_model_len, profile.kv_capacity_tokens)
    app: Application = SimulatedApi(engine, arguments.model, max_model_len).app()
    if TOKEN_VARIABLE in os.environ:
        app = RouteGuard(app)
    uvicorn.run(app, host=arguments.host, port=arguments.port, access_log=False, log_level="warning", loop="uvloop")


if __name__ == "__main__":
    main()
