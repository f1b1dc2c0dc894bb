"""By what a gateway knows that another, or it itself, asks a model for names: then it must not do the same."""

ASKS_FOR_NAMES = b"x-baryon-names"
