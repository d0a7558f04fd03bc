"""The rules find_contamination and drop_contaminated: benchmark questions in training rows."""
