"""What a raw row that cannot be used comes out as."""

from scripts.lib.errors import RecordError


class UnusableRow(RecordError):
    """One raw row cannot become a conversation.

    Attributes:
        reason: Short snake_case code that the ledger counts.
        detail: One sentence for people, plain ASCII.
    """

    def __init__(self, reason: str, detail: str) -> None:
        # Rows may hold lone surrogates, which no UTF-8 file can take.
        self.reason = reason
        self.detail = detail.encode("ascii", "backslashreplace").decode("ascii")
        super().__init__(f"{reason}: {self.detail}")
