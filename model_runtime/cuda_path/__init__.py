"""The network on a CUDA device: fixed memory, captured graphs, steps decided on the device, and what to do without it.

memory.py    the rows of a forward at fixed addresses, written and read with one copy each
graphs.py    capture once, replay ever after; without a device the same functions are simply called
network.py   the network that decoding sees: forward, logits, and whole denoising steps
failures.py  which errors mean that the device cannot go on
"""
