"""How a map is differentiated: the only room that calls `torch.func`."""

from theodolite.derivatives.chain import ChainOperator, jacobian
from theodolite.derivatives.linear import LinearOperator
from theodolite.derivatives.operator import JacobianOperator
from theodolite.derivatives.second_order import second_derivative, second_difference
from theodolite.derivatives.self_check import SelfCheck, self_check

__all__ = [
    "ChainOperator",
    "JacobianOperator",
    "LinearOperator",
    "SelfCheck",
    "jacobian",
    "second_derivative",
    "second_difference",
    "self_check",
]
