"""Timing: competitors in processes of their own, in turns, and the ceilings of the machine."""
