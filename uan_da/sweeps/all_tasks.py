"""``task=all``: every task of a recipe's data set."""

from collections.abc import Sequence
from itertools import permutations

from uan_da.data.open_dataset import open_dataset
from uan_da.recipe import Recipe


def all_tasks(recipe: Recipe) -> Sequence[str]:
    """Every task of the recipe's data set that is of the kind of the recipe's own, in the order of the domains.

    With one source these are all ordered pairs of domains; with several, each domain is the target of all others; a
    domain alone is joined by each of the others alone.

    Raises:
        UserError: the data set does not exist.
    """
    domains, task = open_dataset(recipe.dataset, recipe.trust).domains, recipe.task
    if task.alone:
        return list(domains)
    if len(task.sources) == 1:
        return [f"{source}:{target}" for source, target in permutations(domains, 2)]
    return [f"{'+'.join(name for name in domains if name != target)}:{target}" for target in domains]
