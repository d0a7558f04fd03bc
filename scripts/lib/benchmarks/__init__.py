"""The kinds of benchmarks: a folder each, with a module for each stage that asks for one."""
