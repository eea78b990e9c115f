"""The errors that every backend raises, and nothing else.

    StorageError              anything that went wrong in a store
    ├── ObjectNotFound        no object at that key (also a FileNotFoundError)
    ├── InvalidKey            the key is not one that new_key() makes (also a ValueError)
    ├── IntegrityError        the store does not hold what was written
    ├── StorageFull           no room is left for the bytes
    └── StorageUnavailable    the store does not answer, refuses, or broke off

They carry no HTTP status: what a caller of the service sees is decided at the edge.
"""


class StorageError(Exception):
    """A store could not do what was asked."""


class ObjectNotFound(StorageError, FileNotFoundError):
    """No object is stored at the key."""


class InvalidKey(StorageError, ValueError):
    """The key is not of the form that every backend keeps in the same order."""


class IntegrityError(StorageError):
    """What the store holds differs from what was written to it."""


class StorageFull(StorageError):
    """The disk, or the store's quota, has no room for the bytes."""


class StorageUnavailable(StorageError):
    """The store cannot be reached, refuses the request, or broke off in the middle."""
