"""What the doctor says of good and bad machines."""
