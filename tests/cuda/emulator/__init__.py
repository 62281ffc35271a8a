"""CUDA C on the CPU: emulate.h says how it runs, RawModule is what stands in for CuPy's."""

from .banks import bank_turns
from .build import EmulationError, unavailable
from .memory import remember
from .module import RawModule, execution, launched

__all__ = ["EmulationError", "RawModule", "bank_turns", "execution", "launched", "remember", "unavailable"]
