"""What optimizers share: groups of parameters with settings, a state per parameter, saving and loading both."""

from ..tensor import Tensor, tensor


class Optimizer:
    """Subclasses give `check(group)` and `update(parameter, gradient, group, state)`, which works on arrays in place.

    One that is faster for many parameters at once gives `update_all` as well, with a list of each but the group.

    Attributes:
        param_groups: dictionaries of settings, each with its "params".
        state: Parameter -> what the optimizer keeps for it.
    """

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        if "update" in vars(cls) and "update_all" not in vars(cls):  # the update_all of its base would pass it by
            cls.update_all = Optimizer.update_all

    def __init__(self, params, **settings):
        params = list(params)
        groups = params if params and isinstance(params[0], dict) else [{"params": params}]
        self.param_groups, self.state = [], {}
        for group in groups:
            unknown = set(group) - set(settings) - {"params"}
            if unknown:
                raise ValueError(f"{type(self).__name__}: unknown settings {', '.join(sorted(unknown))}")
            group = {**settings, **group, "params": list(group["params"])}
            for parameter in group["params"]:
                if not isinstance(parameter, Tensor) or not parameter.is_leaf:
                    raise TypeError(
                        f"{type(self).__name__}: params must be leaf Tensors, got {type(parameter).__name__}"
                    )
                if any(
                    parameter is known for g in (*self.param_groups, group) for known in g["params"] if g is not group
                ):
                    raise ValueError(f"{type(self).__name__}: a parameter stands in two groups")
            if not group["params"]:
                raise ValueError(f"{type(self).__name__}: a group has no parameters")
            self.check(group)
            self.param_groups.append(group)

    def zero_grad(self):
        """Forget the gradients of all parameters."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def step(self):
        """Change every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            states = [self.state.setdefault(p, {}) for p in parameters]
            self.update_all([p.data for p in parameters], [p.grad.data for p in parameters], group, states)
            for parameter in parameters:
                parameter.mark_changed(f"{type(self).__name__}.step()")

    def update_all(self, parameters, gradients, group, states):
        """Change several parameters of a group: `update`, one after the other."""
        for parameter, gradient, state in zip(parameters, gradients, states, strict=True):
            self.update(parameter, gradient, group, state)

    def state_dict(self):
        """{"groups": settings of each group, "state": parameter's number -> its state}; arrays share their memory."""
        number = self._numbers()
        groups = [{k: v for k, v in group.items() if k != "params"} for group in self.param_groups]
        return {"groups": groups, "state": {number[p]: dict(state) for p, state in self.state.items()}}

    def load_state_dict(self, saved):
        """Take over settings and state (copied) of state_dict's form; all or nothing.

        Raises:
            ValueError: another number of groups, or state whose shape is not its parameter's.
        """
        if len(saved["groups"]) != len(self.param_groups):
            raise ValueError(f"load_state_dict: {len(saved['groups'])} groups for {len(self.param_groups)}")
        by_number = {n: p for p, n in self._numbers().items()}
        state = {}
        for number, entries in saved["state"].items():
            if number not in by_number:
                raise ValueError(f"load_state_dict: there is no parameter number {number}")
            parameter = by_number[number]
            copied = {k: tensor(v, device=parameter.device) if isinstance(v, Tensor) else v for k, v in entries.items()}
            for name, value in copied.items():
                if isinstance(value, Tensor) and value.shape != parameter.shape:
                    raise ValueError(
                        f"load_state_dict: {name} of parameter number {number} is {value.shape}, "
                        f"must be {parameter.shape}"
                    )
            state[parameter] = copied
        for group, settings in zip(self.param_groups, saved["groups"], strict=True):
            group.update(settings)
        self.state = state

    def _numbers(self):
        parameters = [p for group in self.param_groups for p in group["params"]]
        return {p: n for n, p in enumerate(parameters)}
