"""Adapters: tasks for models of Flax NNX, Flax Linen and Equinox, one file each."""
