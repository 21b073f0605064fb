"""SCIM 2.0 (RFC 7643, 7644): HR systems and enterprise identity providers push people and groups at a health system."""

from pydantic import BaseModel
from scim2_models.base import BaseModel as Described


def _without_docstrings(model: type[BaseModel]) -> None:
    """Let the models that are made of this one at run time not look for docstrings of their fields.

    They have no source, and pydantic looks through all modules for each frame of the stack to find that out: a third
    of the processor's time that it takes to import the API.
    """
    model.model_config.pop("use_attribute_docstrings", None)
    for narrower in model.__subclasses__():
        _without_docstrings(narrower)


_without_docstrings(Described)
