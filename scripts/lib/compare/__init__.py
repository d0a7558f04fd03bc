"""rules/report.smk, its first half: numbers set side by side."""
