"""Text that a spreadsheet takes for text: what begins like a formula is kept from being one (OWASP, "CSV Injection")."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def begins_like_a_formula(text: str) -> bool:
    """Whether a spreadsheet that opens this text in a cell of its own might compute it."""
    return text.startswith(_FORMULA)


def inert(text: str) -> str:
    """The text with an apostrophe before it if it begins like a formula: spreadsheets show it as it is and compute nothing."""
    return f"'{text}" if begins_like_a_formula(text) else text
