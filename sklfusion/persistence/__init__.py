"""Save and load fitted estimators without pickle: JSON and safetensors in one zip file.

A file holds three members: ``manifest.json`` (format, versions, digests), ``model.json`` (the
tree of parameters and fitted attributes) and ``tensors.safetensors`` (the arrays). Types have
public names that no reorganisation of the code changes. Loading looks at the whole tree first:
only what stands in the table of names is built, and nothing in the file can name a function to
call. It is a narrow door, not a wall: load models from people you trust.

FORMAT is raised when a file written now could not be read by the code of before; ``load`` reads
all earlier formats, refuses newer files and names both numbers.
"""

from sklfusion.persistence._archive import FORMAT
from sklfusion.persistence._card import model_card
from sklfusion.persistence._read import info, load
from sklfusion.persistence._trusted import trusted_types
from sklfusion.persistence._write import save

__all__ = ["FORMAT", "info", "load", "model_card", "save", "trusted_types"]
