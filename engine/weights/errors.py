"""What can go wrong on a model's way to the disk, in words that say what to do."""


class ModelStoreError(Exception):
    """The model could not be put on the disk, or what is there is not whole."""
