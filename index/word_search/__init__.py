"""Words that stand in names and captions: how they are split, kept and found again."""
