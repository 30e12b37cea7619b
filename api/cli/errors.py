"""What a person at the terminal can mend."""


class UsageProblemError(Exception):
    """One line that says what is wrong and the way out."""
