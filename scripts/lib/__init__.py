"""What Tunesmith does, by stage: a package for each file in rules/, and four that are no stage."""
