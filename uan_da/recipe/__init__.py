"""Recipes: the schema, loading, overrides, and errors that name file, line and key."""

from uan_da.recipe.block import Block
from uan_da.recipe.load import check_every_method, check_recipe, find_recipe, load_recipe
from uan_da.recipe.schema import Recipe
from uan_da.recipe.task_name import TaskName

__all__ = ["Block", "Recipe", "TaskName", "check_every_method", "check_recipe", "find_recipe", "load_recipe"]
