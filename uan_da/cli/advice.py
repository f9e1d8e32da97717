"""Where the measurements name a better norm than a recipe has, ``uan-da train`` says so."""

from uan_da.recipe import Recipe


def advice(recipe: Recipe) -> str | None:
    """A better default than UAN's, for a network that is trained from the start; None: the tables name none."""
    norm, pretrained = recipe.norm, recipe.backbone.weights != "none" or recipe.init is not None
    if norm.name != "uan" or norm.options["shrink"] is not None or pretrained:
        return None
    if recipe.method.name == "source_only":
        return "note: where nothing adapts, norm=gn and norm=in generalise better than norm=uan (docs/norms.md)"
    return None
