"""A house that runs is looked at again: does its model hold, what does its log teach, is that better."""
