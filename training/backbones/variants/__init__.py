"""Smaller forms of backbones: int8 for the CPU, fp16 for the GPU; each is a backbone of its own."""
