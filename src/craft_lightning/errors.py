"""One exception for everything a user can mend: a clear sentence naming the field, the file and the remedy."""


class CraftError(Exception):
    """Bad input or a broken environment, told in one sentence that says what to change.

    The command line prints the sentence alone and exits with status 2; a library user sees an ordinary exception.
    """


class WorldError(CraftError):
    """A world (server or its supervised client) died, hung or answered nonsense; the episode can be collected again."""
