"""How weights are called in a network and in a checkpoint, for all rooms that tell them apart."""

# Of batch normalisation: no gradient moves them.
STATISTICS = ("moving_mean", "moving_variance")
# Before the path of a weight: its average over the steps, see `optimization.weight_average`.
AVERAGE = "average/"
