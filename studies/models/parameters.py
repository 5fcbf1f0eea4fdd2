"""How many parameters the networks of a study have."""

from studies.preparation import Prepared
from trainables.checkpoints import count_parameters


def parameters_by_architecture(prepared: Prepared) -> dict[str, tuple[int, int]]:
    """Parameters that each architecture trains, and those that it never does.

    Raises:
        UserError: Weights do not fit the network that they are for.
    """
    configs = {
        arm.architecture: arm.config(prepared.spec, {"lr": 1e-3}, prepared.digests, init_seed=0)
        for arm in prepared.spec.arms()
    }
    return {name: count_parameters(config, prepared.tiles.info) for name, config in configs.items()}
