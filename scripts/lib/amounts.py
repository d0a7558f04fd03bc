"""Amounts in the words of a message or a page: bytes, and times."""

UNITS: tuple[str, ...] = ("B", "KiB", "MiB", "GiB", "TiB")


def bytes_in_words(count: int) -> str:
    """Return a number of bytes with the unit that shows it, such as `616 B` or `1.5 GiB`."""
    value, units = float(count), UNITS
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


def duration(seconds: float) -> str:
    """Return a time in words, such as `1 h 02 min`, `3 min 05 s` or `4.2 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
