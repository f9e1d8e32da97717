"""``source:target``: the task of a recipe."""

from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from uan_da.recipe.strict import Strict


class TaskName(Strict):
    """``source:target``; several sources are joined by ``+``: ``mnist+usps:svhn``. One domain alone, ``cifar10``, is
    classification without adaptation: it is its own target."""

    sources: tuple[str, ...]
    target: str

    def __str__(self) -> str:
        return self.target if self.alone else f"{'+'.join(self.sources)}:{self.target}"

    @property
    def alone(self) -> bool:
        """Whether the task is one domain, with nothing to adapt to."""
        return self.sources == (self.target,)

    @property
    def domains(self) -> tuple[str, ...]:
        """All domains in the order of their indices, the target last."""
        return self.sources if self.alone else (*self.sources, self.target)


def parse_task(text: Any) -> TaskName:
    """``A:B``, ``A→B``, ``A->B``, ``A+B:C`` or ``A`` alone as a task; ValueError where it is none."""
    if isinstance(text, TaskName):
        return text
    if not isinstance(text, str):
        raise ValueError(f"expected SOURCE:TARGET, but got {text!r}")
    left, colon, target = text.replace("→", ":").replace("->", ":").partition(":")
    sources = tuple(name.strip() for name in left.split("+"))
    target = target.strip()
    if not colon and len(sources) == 1 and sources[0]:
        return TaskName(sources=sources, target=sources[0])
    if not colon or not target or not all(sources) or ":" in target:
        raise ValueError(f"expected SOURCE:TARGET (several sources: A+B:TARGET), but got {text!r}")
    if len({*sources, target}) <= len(sources):
        raise ValueError(f"a domain appears twice in {text!r}")
    return TaskName(sources=sources, target=target)


Task = Annotated[TaskName, BeforeValidator(parse_task), PlainSerializer(str)]
"""The annotation of a recipe's key that holds a task's name."""
