"""Categories as parts of file names."""

import re


def file_name(category: str) -> str:
    """Return the form of a category's display name that file names use.

    Example: `Social Sciences` becomes `social_sciences`.
    """
    return re.sub(r"\W+", "_", category.lower())
