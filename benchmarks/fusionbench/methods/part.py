"""LLM or encoder, whichever was right more often on the labelled rows."""

from benchmarks.fusionbench.methods._parts import BetterPart

NAME = "the part that did better"
make = BetterPart
