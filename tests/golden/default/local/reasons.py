"""What an error says to whoever typed a command."""

# Packages whose errors are sentences for people. Others only make sense with their kind.
OWN = ("fraud_detection", "lifecycle", "local")
MOST_LINES = 12


def is_own(error: BaseException) -> bool:
    """Tell whether this project foresaw `error`."""
    return type(error).__module__.partition(".")[0] in OWN


def reason(error: BaseException) -> str:
    """Return what `error` says, at most MOST_LINES of it, with its kind if this project did not foresee it."""
    text = "\n".join(str(error).strip().splitlines()[:MOST_LINES])
    return text if is_own(error) else f"{type(error).__name__}: {text}".rstrip(": ")
