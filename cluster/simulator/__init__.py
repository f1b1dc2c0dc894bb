"""Discrete-event simulation of a cluster under the very routing code that serves."""
