"""The names under which Keras offers dtype policies.

>>> dtype_policy().name
'float32'
"""

from .dtype_policies import DTypePolicy, dtype_policy, set_dtype_policy

global_policy = dtype_policy
set_global_policy = set_dtype_policy
Policy = DTypePolicy

__all__ = [
    "DTypePolicy",
    "Policy",
    "dtype_policy",
    "global_policy",
    "set_dtype_policy",
    "set_global_policy",
]
