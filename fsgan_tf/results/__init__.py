"""What an evaluation found, as figures: the reports show it, and the evaluation makes it."""
