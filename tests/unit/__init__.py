"""Tests of the modules that know nothing of Tunesmith, and what all unit tests share."""
