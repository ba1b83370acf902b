"""What overlapped with what, as numbers and as a picture."""
