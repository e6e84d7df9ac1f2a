"""Training on preferences: pairs of summaries, and what makes the better one likelier."""
