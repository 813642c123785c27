"""Apple's GPUs, which programs for PyTorch ask for: they are not used here."""


def is_available() -> bool:
    return False


def is_built() -> bool:
    return False
