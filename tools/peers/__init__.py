"""Other people's attacks, each on the classifier of a run of ours; tools/compare_attacks.py."""
