"""Scores of summaries and how sure they are: ROUGE, intervals, baselines, abstractiveness, unsupported claims."""
