"""How many parameters the networks of a study have."""

from studies.inputs import StudyInputs
from trainables.checkpoints import count_parameters


def parameters_by_architecture(inputs: StudyInputs) -> dict[str, tuple[int, int]]:
    """Parameters that each architecture trains, and those that it never does.

    Raises:
        UserError: Weights do not fit the network that they are for.
    """
    configs = {
        arm.architecture: arm.config(inputs.spec, {"lr": 1e-3}, inputs.digests, init_seed=0)
        for arm in inputs.spec.arms()
    }
    return {name: count_parameters(config, inputs.tiles.info) for name, config in configs.items()}
