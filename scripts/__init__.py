"""Entry programs of Tunesmith, one for each rule, and their library."""
