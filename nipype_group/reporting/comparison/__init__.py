"""What tells two runs, and two files of results, apart."""
