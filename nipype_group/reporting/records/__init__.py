"""What results were made from, and which files are theirs."""
