"""The LLM's answers as given."""

from benchmarks.fusionbench.methods._parts import LLMAlone

NAME = "LLM alone"
make = LLMAlone
