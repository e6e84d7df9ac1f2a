"""What a run is worth: summaries of documents with known ones, scores beside baselines, results on disk."""
