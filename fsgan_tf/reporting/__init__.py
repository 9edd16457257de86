"""What an evaluation found, for programs and for people."""
